package fat

import (
	"errors"
	"fmt"
	"io"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/delta"
)

const (
	// dirSpace numbers directories by first cluster; files, in space 0, by the
	// place of their entry.
	dirSpace = 1

	maxDirEntries = 1 << 22
)

// object is a file or directory of the tree.
type object struct {
	entry
	id     fs.ID
	parent fs.ID
	ext    []fs.Extent
	err    error // why its mapping, or its entries, are not all known

	children []*object // of a directory, in the order of their entries
}

func (e *entry) id() fs.ID {
	if e.dir() && e.first != 0 {
		return fs.ID{Space: dirSpace, Num: e.first}
	}
	return fs.ID{Num: e.loc}
}

// tree is everything on the volume, by number.
type tree map[fs.ID]*object

// walker builds a tree, reading again only what may have changed.
type walker struct {
	v     *Volume
	old   tree
	dirty map[fs.ID]bool // directories written to, and files whose chain changed
	out   tree
	label string
}

// walk builds the tree from the root.
func (w *walker) walk() {
	o := w.v.boot
	root := &object{id: o.root(), entry: entry{attrs: attrDir, first: o.Root, born: fs.NoTime, changed: fs.NoTime, read: fs.NoTime}}
	if o.Root == 0 {
		root.ext = []fs.Extent{{Physical: o.RootAt, Length: o.RootLen}}
	}
	root.parent = root.id
	queue := []*object{w.directory(root)}
	for len(queue) > 0 {
		d := queue[0]
		queue = queue[1:]
		w.out[d.id] = d
		for _, c := range d.children {
			if w.out[c.id] != nil {
				d.note(fmt.Errorf("%q and another entry share cluster %d: %w", c.name, c.first, fs.ErrCorrupt))
				continue
			}
			w.out[c.id] = c
			if c.dir() && c.id.Space == dirSpace {
				c = w.directory(c)
				w.out[c.id] = c
				queue = append(queue, c)
			}
		}
	}
}

func (o *object) note(err error) {
	if err != nil && o.err == nil {
		o.err = err
	}
}

// directory fills in the children of d, from before when nothing was written.
func (w *walker) directory(d *object) *object {
	// An entry may say that its directory goes on in clusters that were written before.
	if was := w.old[d.id]; was != nil && !w.dirty[d.id] && was.err == nil && was.size == d.size && was.inRow == d.inRow {
		if was.entry == d.entry && was.parent == d.parent {
			return w.again(was)
		}
		c := *d
		c.ext, c.children = was.ext, was.children
		return w.again(&c)
	}
	if w.old[d.id] == d {
		c := *d // the tree before must stay as it was
		d = &c
	}
	d.children, d.err = nil, nil
	if d.first != 0 {
		if d.inRow {
			d.ext, d.err = w.v.extents(d.first, d.size, true)
		} else {
			d.ext, d.err = w.v.dirExtents(d.first)
		}
	}
	raw, err := w.v.entries(d.ext)
	d.note(err)
	var list []entry
	if w.v.boot.kind == exfat {
		var label string
		if list, label = parseEx(raw); label != "" {
			w.label = label
		}
	} else {
		list = parseFAT(raw, w.v.boot.kind == fat32)
	}
	for k := range list {
		d.children = append(d.children, w.child(d.id, list[k]))
	}
	return d
}

// again goes through the children of a directory that was not written to: the
// chain of one of them may have changed.
func (w *walker) again(d *object) *object {
	for k, c := range d.children {
		if !c.dir() && (w.dirty[c.id] || c.err != nil) || c.parent != d.id {
			if !w.copied(d) {
				e := *d
				e.children = append([]*object(nil), d.children...)
				d = &e
			}
			d.children[k] = w.child(d.id, c.entry)
		}
	}
	return d
}

// copied reports whether d is not shared with the tree before.
func (w *walker) copied(d *object) bool { return w.old[d.id] != d }

// child makes an object of an entry, the one from before when it is the same.
func (w *walker) child(parent fs.ID, e entry) *object {
	c := &object{entry: e, id: e.id(), parent: parent}
	if !c.dir() && e.size > 0 {
		c.ext, c.err = w.v.extents(e.first, e.size, e.inRow)
	}
	if was := w.old[c.id]; was != nil && !c.dir() && was.entry == e && was.parent == parent && was.err == nil && c.err == nil && sameExtents(was.ext, c.ext) {
		return was
	}
	return c
}

func sameExtents(a, b []fs.Extent) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if a[k] != b[k] {
			return false
		}
	}
	return true
}

// entries reads the 32-byte entries of a directory, up to the first never used.
func (v *Volume) entries(ext []fs.Extent) ([]placed, error) {
	var out []placed
	for _, e := range ext {
		const piece = 64 << 10
		for at := uint64(0); at < e.Length; at += piece {
			b := make([]byte, min(piece, e.Length-at))
			if n, err := v.r.ReadAt(b, int64(e.Physical+at)); err != nil && (err != io.EOF || n < len(b)) {
				return out, fmt.Errorf("directory at offset %d: %w", e.Physical+at, err)
			}
			for k := 0; k+entrySize <= len(b); k += entrySize {
				if b[k] == 0 {
					return out, nil
				}
				if len(out) >= maxDirEntries {
					return out, fmt.Errorf("directory: more than %d entries: %w", maxDirEntries, fs.ErrCorrupt)
				}
				out = append(out, placed{b[k : k+entrySize], e.Physical + at + uint64(k)})
			}
		}
	}
	return out, nil
}

// attr is what an object says of itself. Owner and mode are what Linux shows by
// default: root, 0755, without write permission for a read-only file.
func (o *object) attr() fs.Attr {
	a := fs.Attr{
		ID: o.id, Type: fs.TypeFile, Live: true, Mode: 0o755, Links: 1, Size: o.size, Flags: uint64(o.attrs),
		ATime: o.read, MTime: o.changed, CTime: fs.NoTime, BTime: o.born,
	}
	if o.born != fs.NoTime {
		// The place of an entry is used again; the time of creation tells its lives apart.
		a.Generation = uint64(o.born)
	}
	if o.attrs&attrReadOnly != 0 {
		a.Mode = 0o555
	}
	if o.dir() {
		a.Type, a.Size = fs.TypeDir, 0
		for _, e := range o.ext {
			a.Size += e.Length
		}
	}
	return a
}

// names is the one name an object has; the root has none.
func (o *object) names() []fs.Dirent {
	if o.id == o.parent {
		return nil
	}
	return []fs.Dirent{{Parent: o.parent, Name: o.name, Child: o.id, Type: o.attr().Type}}
}

// mapped is an object's content, what was never written to as zeros.
func (o *object) mapped() []fs.Extent {
	if o.dir() {
		return nil
	}
	var out []fs.Extent
	for _, e := range o.ext {
		if e.State == fs.ExtentData && e.Logical < o.valid && e.Logical+e.Length > o.valid {
			cut := o.valid - e.Logical
			out = append(out, fs.Extent{Logical: e.Logical, Physical: e.Physical, Length: cut})
			e.Logical, e.Physical, e.Length = e.Logical+cut, e.Physical+cut, e.Length-cut
		}
		if e.State == fs.ExtentData && e.Logical >= o.valid {
			e.State = fs.ExtentUnwritten
		}
		out = append(out, e)
	}
	return out
}

// State implements delta.Source.
func (t tree) State(d fs.ID) delta.State {
	o := t[d]
	if o == nil {
		return delta.State{}
	}
	// A broken chain is in the extents; the entry itself was read.
	return delta.State{Attr: o.attr(), Names: o.names(), Extents: o.mapped()}
}

// problemKind tells bytes that were not captured from bytes that are wrong.
func problemKind(err error) fs.ProblemKind {
	switch {
	case fs.IsUnknown(err):
		return fs.ProblemUnknown
	case errors.Is(err, fs.ErrUnsupported):
		return fs.ProblemUnsupported
	}
	return fs.ProblemCorrupt
}
