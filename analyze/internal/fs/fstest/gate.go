package fstest

import (
	"errors"
	"fmt"
	"io"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Opener is a filesystem's constructor.
type Opener func(fs.Device, fs.Options) (fs.Filesystem, error)

// Read opens an image and lists its whole tree.
func Read(open Opener, dev fs.Device) ([]Entry, *Model, error) {
	f, err := open(dev, fs.Options{})
	if err != nil {
		return nil, nil, err
	}
	m := NewModel()
	if err := f.Crawl(m); err != nil {
		return nil, m, err
	}
	t, err := m.Tree(f, f.Info().Root)
	return t, m, err
}

// Run is a trace being applied to a filesystem under observation.
type Run struct {
	Open   Opener
	Dev    *fs.Overlay
	FS     fs.Filesystem
	Model  *Model
	Writes int
}

// Start crawls the base.
func Start(open Opener, dev *fs.Overlay) (*Run, error) {
	f, err := open(dev, fs.Options{})
	if err != nil {
		return nil, err
	}
	r := &Run{Open: open, Dev: dev, FS: f, Model: NewModel()}
	return r, f.Crawl(r.Model)
}

// Step applies one entry.
func (r *Run) Step(s Step) error {
	if w := s.Write; w.Len > 0 {
		r.Writes++
		r.FS.Prepare(&w, r.Model)
		if err := r.Dev.Apply(&w); err != nil {
			return err
		}
		r.FS.Apply(&w, r.Model)
	}
	if s.Flush || s.Mark != "" {
		r.FS.Settle(s.Write.Stamp, r.Model)
	}
	return nil
}

// Fresh opens the disk as it stands anew and compares it with the model.
func (r *Run) Fresh() ([]string, error) {
	f, err := r.Open(r.Dev, fs.Options{})
	if err != nil {
		return nil, err
	}
	m := NewModel()
	if err := f.Crawl(m); err != nil {
		return nil, err
	}
	out := Same(r.Model, m)
	for _, p := range m.Problems {
		out = append(out, "problem: "+p.Text)
	}
	return out, nil
}

// Play applies a whole trace; mark is called at each mark.
func (r *Run) Play(t *Trace, mark func(name string) error) error {
	for {
		s, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := r.Step(s); err != nil {
			return fmt.Errorf("write %d: %w", s.Write.Seq, err)
		}
		if s.Mark != "" {
			if err := mark(s.Mark); err != nil {
				return fmt.Errorf("mark %s: %w", s.Mark, err)
			}
		}
	}
}
