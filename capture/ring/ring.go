// Package ring keeps the tapes of a flight recorder: segments by guest, the oldest
// given up when they are too old or too many bytes, those that were pinned kept.
//
// A ring is nothing but files: DIRECTORY/GUEST/TIME.xtape, and links to pinned ones
// in DIRECTORY/GUEST/pinned. It survives restarts because there is nothing else.
package ring

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/xentape/xentape/format"
)

// Limits say how much a ring keeps. Zero means no limit.
type Limits struct {
	Age   time.Duration // of a segment's end
	Bytes int64         // of all segments that are not pinned
}

// Ring is the segments below a directory. One process may use it at a time.
type Ring struct {
	dir    string
	limits Limits
}

// Open uses or makes the directory.
func Open(dir string, l Limits) (*Ring, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &Ring{dir, l}, nil
}

const (
	suffix    = ".xtape"
	pinnedDir = "pinned"
	// nameLayout sorts by time, and is a file name everywhere.
	nameLayout = "20060102T150405.000Z"
)

// Segment is one tape of the ring.
type Segment struct {
	Path   string
	Guest  string
	Start  time.Time
	End    time.Time // of the last write
	Bytes  int64
	Pinned bool
}

// Create names the tape of a segment that begins now, and makes its directory.
func (r *Ring) Create(guest string, start time.Time) (string, error) {
	if guest == "" || strings.ContainsAny(guest, "/\x00") || strings.HasPrefix(guest, ".") {
		return "", fmt.Errorf("guest %q is no name for a directory", guest)
	}
	dir := filepath.Join(r.dir, guest)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return filepath.Join(dir, start.UTC().Format(nameLayout)+suffix), nil
}

// Segments lists what there is, the oldest first. Files of other names are not the
// ring's and are left alone.
func (r *Ring) Segments() ([]Segment, error) {
	files, err := filepath.Glob(filepath.Join(globQuote(r.dir), "*", "*"+suffix))
	if err != nil {
		return nil, err
	}
	var out []Segment
	for _, name := range files {
		start, err := time.Parse(nameLayout, strings.TrimSuffix(filepath.Base(name), suffix))
		if err != nil {
			continue
		}
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s := Segment{Path: name, Guest: filepath.Base(filepath.Dir(name)), Start: start, End: info.ModTime(), Bytes: info.Size()}
		_, err = os.Lstat(pinnedPath(name))
		s.Pinned = err == nil
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Segment) int {
		return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Path, b.Path))
	})
	return out, nil
}

func globQuote(dir string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(dir)
}

func pinnedPath(segment string) string {
	return filepath.Join(filepath.Dir(segment), pinnedDir, filepath.Base(segment))
}

// Pin keeps the segments of a guest that hold anything since a moment, whatever the
// limits. Those named in open are being written, and are among them. It returns their
// paths in the pinned directory, the oldest first.
func (r *Ring) Pin(guest string, since time.Time, open map[string]bool) ([]string, error) {
	all, err := r.Segments()
	if err != nil {
		return nil, err
	}
	var pinned []string
	for _, s := range all {
		if s.Guest != guest || s.End.Before(since) && !open[s.Path] {
			continue
		}
		to := pinnedPath(s.Path)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return pinned, err
		}
		if err := os.Link(s.Path, to); err != nil && !errors.Is(err, fs.ErrExist) {
			return pinned, err
		}
		pinned = append(pinned, to)
	}
	return pinned, nil
}

// remove takes a segment out of the ring, with the spool that a recorder which was
// killed left beside it; that of a pinned one goes to where it is pinned.
func (s *Segment) remove() error {
	spool := s.Path + format.SpoolSuffix
	var err error
	if s.Pinned {
		err = os.Rename(spool, pinnedPath(s.Path)+format.SpoolSuffix)
	} else {
		err = os.Remove(spool)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Remove(s.Path)
}

// Expire gives up segments beyond the limits, and beyond need further bytes, the
// oldest first. Segments named in open are being written and are kept. Of a pinned
// segment only the ring's link goes. release, if not nil, is told of each before it is
// given up; then a guest's segments go in order, none before one that is being written.
// It returns what was given up.
func (r *Ring) Expire(now time.Time, need int64, open map[string]bool, release func(Segment)) ([]Segment, error) {
	all, err := r.Segments()
	if err != nil {
		return nil, err
	}
	var total int64
	for _, s := range all {
		if !s.Pinned {
			total += s.Bytes
		}
	}
	var gone []Segment
	waits := map[string]bool{} // guests of whom a segment is being written
	for _, s := range all {
		waits[s.Guest] = waits[s.Guest] || open[s.Path]
		old := r.limits.Age > 0 && now.Sub(s.End) > r.limits.Age
		large := r.limits.Bytes > 0 && total > r.limits.Bytes
		if open[s.Path] || !old && !large && need <= 0 {
			continue
		}
		if s.Pinned && !old {
			continue // its bytes would not come free
		}
		if release != nil && waits[s.Guest] {
			continue
		}
		if release != nil {
			release(s)
		}
		if err := s.remove(); err != nil {
			return gone, err
		}
		if !s.Pinned {
			total -= s.Bytes
			need -= s.Bytes
		}
		gone = append(gone, s)
	}
	return gone, nil
}
