package files

import (
	"strings"
)

// folder keeps a set of paths by events alone. Old paths are those before a
// transaction, new ones those after it, so a transaction is folded whole.
type folder struct {
	paths map[string]string // to type
	tx    uint64
	last  uint64
	batch []Event
}

func newFolder(tree *Tree) *folder {
	f := &folder{paths: map[string]string{}}
	for _, v := range tree.Volumes() {
		_ = tree.Walk(v, func(x File) error {
			f.paths[x.Path] = x.Type.String()
			return nil
		})
	}
	return f
}

func (f *folder) add(events []Event) {
	for _, e := range events {
		if e.Transaction != f.tx || e.Observed != Time(f.last) {
			f.flush()
			f.tx, f.last = e.Transaction, uint64(e.Observed)
		}
		if e.TimeBasis == BasisUSN {
			f.flush() // what a change journal tells is in its order, each step by itself
			f.batch = append(f.batch, e)
			f.flush()
			continue
		}
		f.batch = append(f.batch, e)
	}
}

func (f *folder) flush() {
	moved, added := map[string]string{}, map[string]string{}
	for _, e := range f.batch {
		switch e.Op {
		case OpCreate, OpMkdir, OpSymlink, OpLink:
			added[e.Path] = e.Type
		case OpRename:
			added[e.Path] = e.Type
			delete(f.paths, e.OldPath)
			if e.Type == "dir" {
				moved[e.OldPath] = e.Path
			}
		case OpDelete, OpUnlink, OpRmdir:
			if len(e.Notes) == 0 || !strings.HasPrefix(e.Notes[0], "unlinked earlier") {
				delete(f.paths, e.Path)
			}
		}
	}
	f.batch = nil
	if len(moved) > 0 {
		next := map[string]string{}
		for p, typ := range f.paths {
			next[under(p, moved)] = typ
		}
		f.paths = next
	}
	for p, typ := range added {
		f.paths[p] = typ
	}
}

// under renames p by its nearest directory that moved.
func under(p string, moved map[string]string) string {
	for q := p; ; {
		i := strings.LastIndexByte(q, '/')
		if i <= 0 {
			return p
		}
		q = q[:i]
		if to, ok := moved[q]; ok {
			return to + p[len(q):]
		}
	}
}
