package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/xentape/xentape/analyze/files"
	"github.com/xentape/xentape/capture/foreign"
	"github.com/xentape/xentape/format"
)

// logEnd is where reading a block write log stops: at a mark or after a time.
type logEnd struct {
	mark string
	time files.Time // 0: not by time
	met  bool
}

func parseLogEnd(at string) (e logEnd, err error) {
	if text, ok := strings.CutPrefix(at, "@"); ok {
		return logEnd{mark: text}, nil
	}
	if at != "" {
		e.time, err = parseWall(at)
	}
	return e, err
}

// behind reports whether r lies after the time.
func (e *logEnd) behind(r format.Record) bool {
	return e.time != 0 && files.Time(r.Header().Time) > e.time
}

// reached reports whether r is the mark.
func (e *logEnd) reached(r format.Record) bool {
	m, ok := r.(*format.Mark)
	e.met = e.met || ok && e.mark != "" && m.Text == e.mark
	return e.met
}

// splitSource reads DISK=FILE, as import takes it, or FILE alone; a file whose own
// name holds an equals sign is taken as it is.
func splitSource(v string) (disk, path string) {
	if _, err := os.Stat(v); err == nil {
		return "", v
	}
	if disk, path, ok := strings.Cut(v, "="); ok && !strings.Contains(disk, "/") {
		return disk, path
	}
	return "", v
}

// blockLog is a base image and a block write log of other tools.
type blockLog struct {
	disk string
	path string
	base *rawDisk
	file *os.File
	log  *foreign.LogWrites
}

func (s *diskSource) openLog() (_ *blockLog, err error) {
	baseName, basePath := splitSource(s.base)
	l := &blockLog{}
	l.disk, l.path = splitSource(s.writes)
	switch {
	case basePath == "":
		return nil, usagef("--base is needed with --writes: a log does not say how large its disk is")
	case l.disk == "":
		l.disk = cmp.Or(baseName, "disk")
	case baseName != "" && baseName != l.disk:
		return nil, usagef("--base is of disk %s, --writes of disk %s: name one disk", baseName, l.disk)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if l.base, err = openRawDisk(basePath); err != nil {
		return nil, err
	}
	var size int64
	if l.file, size, err = openInput(l.path); err != nil {
		return nil, err
	}
	l.log, err = foreign.OpenLogWrites(l.file, size, filepath.Base(l.path))
	return l, err
}

func (l *blockLog) close() error {
	var err error
	if l.base != nil {
		err = l.base.f.Close()
	}
	if l.file != nil {
		err = errors.Join(err, l.file.Close())
	}
	return err
}

// followLog feeds a base image and a block write log of other tools, up to a time
// or a mark; an empty at is all of it.
func (s *diskSource) followLog(ctx context.Context, t *terminal, at string, o files.Options) (*followed, error) {
	end, err := parseLogEnd(at)
	if err != nil {
		return nil, err
	}
	l, err := s.openLog()
	if err != nil {
		return nil, err
	}
	f := &followed{name: l.disk, complete: true, log: l}
	o.Disk, o.Scratch = l.disk, &f.written
	if f.a, err = files.New(uint64(l.base.size), l.base, o); err != nil {
		return nil, errors.Join(err, f.close())
	}
	if err := s.feedLog(ctx, t, f, &end); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func (s *diskSource) feedLog(ctx context.Context, t *terminal, f *followed, end *logEnd) error {
	var seq uint64
	for r, err := range f.log.log.Records() {
		if err != nil {
			t.warnf("%v", err)
			f.complete = false
			break
		}
		h := r.Header()
		if seq == 0 && h.Time != 0 {
			// The log's times are wall-clock times: they are both of the tape's clocks.
			if err := f.a.Feed(&format.Anchor{Stamp: format.Stamp{Time: h.Time}, Realtime: h.Time}); err != nil {
				return err
			}
		}
		seq++
		h.Seq = seq
		if seq%1024 == 0 {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			t.progress("%s: entry %d", f.log.path, seq)
		}
		if end.behind(r) {
			break
		}
		if err := s.feed(f, r); err != nil {
			return fmt.Errorf("%s: %w", f.log.path, err)
		}
		if end.reached(r) {
			break
		}
	}
	t.clearProgress()
	if end.mark != "" && !end.met {
		return fmt.Errorf("%s: no mark %q", f.log.path, end.mark)
	}
	return s.drain(f)
}
