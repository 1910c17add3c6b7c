// Command repack writes a tape again, record by record, compressed as hard as the
// zstd program can: what a recorder has no time for, and a repository is glad of.
//
//	repack TAPE OUT
//
// Records keep their numbers, times and order, snapshots their pages and
// conditions; the chunks, and so the tree and its root, are new, and there is no
// signature. It refuses damaged, unfinished and sealed tapes.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/xentape/xentape/format"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: repack TAPE OUT")
		os.Exit(2)
	}
	if err := repack(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "repack:", err)
		os.Exit(1)
	}
}

// program compresses with the zstd program.
type program struct{}

// EncodeAll implements format.Compressor. Where the program fails it gives back
// more than it was given, and the chunk is stored as it is.
func (program) EncodeAll(src, dst []byte) []byte {
	// The size, known before, keeps the window within what readers allow.
	cmd := exec.Command("zstd", "-q", "--ultra", "-20", "--no-check", "--no-progress", "--stream-size="+strconv.Itoa(len(src)), "-c")
	cmd.Stdin = bytes.NewReader(src)
	out, err := cmd.Output()
	if err != nil {
		return append(append(dst, src...), 0)
	}
	return append(dst, out...)
}

func repack(from, to string) (err error) {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	r, err := format.Open(f, st.Size(), format.ReaderOptions{MaxMemory: 1 << 30})
	if err != nil {
		return err
	}
	if !r.Sealed() || r.Encrypted() || len(r.Damage()) > 0 {
		return fmt.Errorf("%s: not a whole tape that can be read without a key", from)
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	h := r.Header()
	w, err := format.NewWriter(out, format.WriterOptions{TapeID: h.TapeID, Producer: h.Producer, Start: h.Start, ChunkSize: format.MaxChunk / 2,
		DeltaMemory: 1 << 30, Compressor: func() (format.Compressor, error) { return program{}, nil }})
	if err != nil {
		return err
	}
	open := map[uint32]*format.SnapshotWriter{}
	for rec, err := range r.Records(format.Query{}) {
		if err != nil {
			return err
		}
		was := rec.Header().Seq
		if err := put(r, w, open, rec); err != nil {
			return fmt.Errorf("record %d: %w", was, err)
		}
	}
	return w.Seal()
}

// put writes one record, and what belongs to it.
func put(r *format.Reader, w *format.Writer, open map[uint32]*format.SnapshotWriter, rec format.Record) error {
	switch rec := rec.(type) {
	case *format.StreamDef:
		id, err := w.DefineStream(*rec)
		if err == nil && id != rec.ID {
			err = fmt.Errorf("stream %d would become %d", rec.ID, id)
		}
		return err
	case *format.SnapshotBegin:
		s, err := w.BeginSnapshot(*rec)
		if err == nil && s.ID() != rec.ID {
			err = fmt.Errorf("snapshot %d would become %d", rec.ID, s.ID())
		}
		open[rec.ID] = s
		return err
	case *format.SnapshotEnd:
		if err := pages(r, open[rec.ID], rec.ID); err != nil {
			return err
		}
		return open[rec.ID].End(*rec)
	}
	seq := rec.Header().Seq
	if err := w.Write(rec); err != nil {
		return err
	}
	if now := rec.Header().Seq; now != seq {
		return fmt.Errorf("would become record %d", now)
	}
	return nil
}

// pages writes what a snapshot states. Of one with a parent only the pages that
// may differ are written again.
func pages(r *format.Reader, w *format.SnapshotWriter, id uint32) error {
	s, err := r.Snapshot(id)
	if err != nil {
		return err
	}
	changed, known := s.Changed()
	if !known {
		changed = []format.Extent{{Start: 0, Count: s.Info().Begin.Pages}}
	}
	page := make([]byte, format.PageSize)
	for _, e := range changed {
		for n := e.Start; n < e.Start+e.Count; n++ {
			st, err := s.ReadPage(n, page)
			if err != nil {
				return err
			}
			if st == format.PageData || st == format.PageZero {
				err = w.Page(n, page)
			} else {
				err = w.State(format.Extent{Start: n, Count: 1}, st)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
