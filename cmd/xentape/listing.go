package main

import (
	"errors"
	"fmt"

	"github.com/xentape/xentape/analyze/files"
)

// list prints the tree of one disk as it stands.
func (s *fileSink) list(f *followed) error {
	tree := f.a.State()
	if s.o.view == "crash" {
		tree = f.a.Crash()
		for _, p := range tree.Problems {
			s.t.warnf("%s: %s: %s", p.Volume, p.Kind, p.Text)
			f.complete = false
		}
	}
	return tree.List("", !s.o.noHash, func(e *files.Entry) error {
		if s.o.glob != "" && !globbed(s.o.glob, e.Path) {
			return nil
		}
		if e.Unknown != "" {
			f.complete = false
		}
		if s.o.json {
			return s.t.line(e)
		}
		printEntry(s.t, e)
		return nil
	})
}

func printEntry(t *terminal, e *files.Entry) {
	name := printable(e.Path)
	if e.Target != "" {
		name += " → " + printable(e.Target)
	}
	if e.Unknown != "" {
		name += t.style(styleWarn, "  unknown: "+printable(e.Unknown))
	}
	t.printf("%-8s %s %5d %5d %12d %s %-64s %s\n", e.Type, e.Mode, e.UID, e.GID, e.Size, stamp(e.MTime), e.SHA256, name)
}

// residue prints what the directories of one disk hold beside its tree.
func (s *fileSink) residue(f *followed) error {
	tree := f.a.State()
	for _, volume := range tree.Volumes() {
		err := tree.Residue(volume, func(r *files.Residue) {
			if s.o.glob != "" && !globbed(s.o.glob, r.Path) {
				return
			}
			if s.o.json {
				s.err = errors.Join(s.err, s.t.line(r))
				return
			}
			name := printable(r.Path)
			if r.Present != "" && r.Present != r.Path {
				name += "  now " + printable(r.Present)
			}
			s.t.printf("%-8s %-4s %12d %s %8d-%d %s\n", r.Kind, r.Type, r.Size, stamp(r.MTime), r.Inode, r.Generation, name)
		})
		if err != nil {
			s.t.warnf("%v", err)
			f.complete = false
		}
	}
	return s.err
}

func stamp(v files.Time) string {
	if !v.Known() {
		return fmt.Sprintf("%-29s", "-")
	}
	return v.Go().Format("2006-01-02 15:04:05.000000000")
}

// versions is told after each record; nil events are the start.
func (s *fileSink) versions(f *followed, events []files.Event) error {
	var vs []files.Version
	if f.history == nil {
		f.history = files.NewHistory(f.a, func(p string) bool { return globbed(s.o.glob, p) })
		var err error
		if vs, err = f.history.Base(); err != nil {
			return err
		}
	}
	if len(events) > 0 {
		vs = append(vs, f.history.See(events)...)
	}
	for k := range vs {
		v := &vs[k]
		if v.Unknown != "" {
			f.complete = false
		}
		if s.o.json {
			if err := s.t.line(v); err != nil {
				return err
			}
			continue
		}
		what := v.SHA256
		if !v.Present {
			what = "gone"
		}
		s.t.printf("%s %-8s %12d %s %-64s %s\n", stamp(v.TimeUpper), v.Op, v.Size, v.Mode, what, printable(v.Path))
	}
	return nil
}
