package ntfs

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// listed is a name that a directory's index has.
type listed struct {
	dir   uint64
	child reference
	name  uint64 // digest
}

func listing(dir uint64, child reference, name string) listed {
	return listed{dir, child, digest([]byte(name))}
}

// Residue implements fs.Residual: directory indexes beside the names that the file
// records have.
func (n *ntfs) Residue(visit func(fs.Residue)) error {
	v, all, left := n.vol, map[listed]bool{}, maxIndexBlocks
	var bad []error
	note := func(num uint64, err error) {
		if err != nil && len(bad) < 16 {
			bad = append(bad, fmt.Errorf("directory %d: %w", num, err))
		}
	}
	for num := uint64(rootRecord); num < v.records() && left >= 0; num++ {
		f, _ := v.file(num) // what is wrong with it, the crawl has said
		if f == nil || f.flags&recordDir == 0 || f.internal() {
			continue
		}
		x, err := v.directory(f)
		note(num, err)
		if x == nil {
			continue
		}
		here, err := v.residueOf(f, x, &left, all)
		note(num, err)
		for _, r := range here {
			visit(r)
		}
	}
	if len(bad) == 0 { // of an index that could not be read nothing is missing
		for num := uint64(firstUser); num < v.records(); num++ {
			v.unlisted(num, all, visit)
		}
	}
	return errors.Join(bad...)
}

// residueOf is what is left in directory f of names it has no more, and what it
// lists without reason. The names it has are added to all.
func (v *Volume) residueOf(f *file, x *index, left *int, all map[listed]bool) ([]fs.Residue, error) {
	var dangling []fs.Residue
	latest := map[listed]fs.Residue{}
	err := v.indexed(f, x, left, func(e indexEntry) {
		if e.kind == nameDOS {
			return
		}
		k := listing(f.num, e.child, e.name)
		r := e.residue(f.num, fs.ResidueRemoved)
		if e.removed {
			if old, ok := latest[k]; !ok || r.CTime > old.CTime {
				latest[k] = r
			}
			return
		}
		all[k], all[listing(f.num, 0, e.name)] = true, true
		if f.num == rootRecord && e.child.record() < firstUser || v.bears(f, &e) {
			return
		}
		r.Kind = fs.ResidueDangling
		dangling = append(dangling, r)
	})
	out := dangling
	for k := range latest {
		if k.child != 0 {
			all[listed{k.dir, 0, k.name}] = true // says more than the name alone
		}
	}
	for k, r := range latest {
		if !all[k] { // else a copy that moving entries about has left
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b fs.Residue) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.Child.Compare(b.Child), cmp.Compare(a.Generation, b.Generation), cmp.Compare(a.Kind, b.Kind))
	})
	return out, err
}

// bears reports whether the file that an entry of directory f names has that name.
func (v *Volume) bears(f *file, e *indexEntry) bool {
	c, _ := v.file(e.child.record())
	return c != nil && c.seq == e.child.seq() && slices.ContainsFunc(c.names, func(n fileName) bool {
		return n.parent.record() == f.num && n.name == e.name
	})
}

// unlisted visits the names of file num that their directories do not list.
func (v *Volume) unlisted(num uint64, all map[listed]bool, visit func(fs.Residue)) {
	f, err := v.file(num)
	if f == nil || err != nil || f.internal() {
		return
	}
	for _, n := range f.names {
		self := reference(num | uint64(f.seq)<<48)
		if !v.holds(n.parent) || all[listing(n.parent.record(), self, n.name)] {
			continue
		}
		a := f.attr(f.stream(""))
		visit(fs.Residue{
			Kind: fs.ResidueUnlisted, Dir: id(n.parent.record(), ""), Name: n.name, Child: a.ID, Generation: a.Generation, Type: a.Type, Size: a.Size,
			ATime: a.ATime, MTime: a.MTime, CTime: a.CTime, BTime: a.BTime,
		})
	}
}

func (e *indexEntry) residue(dir uint64, kind fs.ResidueKind) fs.Residue {
	r := fs.Residue{
		Kind: kind, Dir: id(dir, ""), Name: e.name, Child: id(e.child.record(), ""), Generation: uint64(e.child.seq()), Type: fs.TypeFile, Size: e.size, Off: e.off,
		ATime: e.aTime, MTime: e.mTime, CTime: e.cTime, BTime: e.bTime,
	}
	if e.dir {
		r.Type = fs.TypeDir
	}
	return r
}
