package fat

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/blockmap"
	"github.com/xentape/xentape/analyze/internal/fs/delta"
)

// fat follows one volume. It holds the tree as of the last settling.
type fat struct {
	dev     fs.Device
	vol     *Volume
	tree    tree
	label   string
	ledger  blockmap.Ledger
	places  blockmap.Map // of directories
	batch   *delta.Batch
	dirty   map[fs.ID]bool
	broken  map[fs.ID]fs.Stamp // since when something of an object could not be read
	past    int64              // the last time of creation that the tree had, ns
	emptied map[fs.ID]bool     // directories written to in which nothing is left that was there
	stale   bool               // something in dirty, or a table entry without owner, was written
	changed []fs.Range         // sectors behind the tables that hold other bytes than at the last settling,
	joined  int                // and how many ranges these were when last put together
}

// Open looks for a FAT or exFAT boot sector at the start of dev.
func Open(dev fs.Device, _ fs.Options) (fs.Filesystem, error) {
	v, err := OpenVolume(dev)
	if errors.Is(err, ErrNotFAT) {
		return nil, fs.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	f := &fat{dev: dev, vol: v, dirty: map[fs.ID]bool{}, broken: map[fs.ID]fs.Stamp{}}
	f.batch = delta.New(f)
	return f, nil
}

// Identify says what the boot sector announces; fs.ErrNotFound when it is not of
// a FAT or exFAT.
func Identify(dev fs.Device) (fs.Info, error) {
	v, err := OpenVolume(dev)
	if errors.Is(err, ErrNotFAT) {
		return fs.Info{}, fs.ErrNotFound
	}
	if err != nil {
		return fs.Info{}, err
	}
	return v.boot.info(), nil
}

// State implements delta.Source.
func (f *fat) State(d fs.ID) delta.State { return f.tree.State(d) }

// Info implements fs.Filesystem.
func (f *fat) Info() fs.Info {
	i := f.vol.boot.info()
	if f.label != "" {
		i.Label = f.label
	}
	return i
}

// Crawl implements fs.Filesystem.
func (f *fat) Crawl(v fs.Visitor) error {
	w := walker{v: f.vol, out: tree{}}
	w.walk()
	f.tree, f.label = w.out, w.label
	f.ledger, f.places = blockmap.Ledger{}, blockmap.Map{}
	clear(f.dirty)
	for _, d := range slices.SortedFunc(maps.Keys(f.tree), fs.ID.Compare) {
		o := f.tree[d]
		if o.err != nil {
			v.Problem(fs.Problem{Kind: problemKind(o.err), ID: d, Text: o.err.Error()})
		}
		v.Inode(o.attr())
		for _, n := range o.names() {
			v.Link(n)
		}
		f.ledger.Add(d, o.mapped())
		f.place(o)
	}
	return nil
}

// place remembers where a directory's entries are.
func (f *fat) place(o *object) {
	if !o.dir() {
		return
	}
	for _, e := range o.ext {
		f.places.Add(blockmap.Owner{ID: o.id, Physical: e.Physical, Logical: e.Logical, Length: e.Length})
	}
}

func (f *fat) displace(o *object) {
	if !o.dir() {
		return
	}
	for _, e := range o.ext {
		f.places.Remove(blockmap.Owner{ID: o.id, Physical: e.Physical, Logical: e.Logical, Length: e.Length})
	}
}

func (f *fat) find(d fs.ID) (*object, error) {
	if o := f.tree[d]; o != nil {
		return o, nil
	}
	return nil, fmt.Errorf("entry %v: %w", d, fs.ErrNotFound)
}

// Stat implements fs.Filesystem.
func (f *fat) Stat(d fs.ID) (fs.Attr, error) {
	o, err := f.find(d)
	if err != nil {
		return fs.Attr{}, err
	}
	return o.attr(), nil
}

// Xattrs implements fs.Filesystem.
func (f *fat) Xattrs(d fs.ID) ([]fs.Xattr, error) {
	_, err := f.find(d)
	return nil, err
}

// Content implements fs.Filesystem.
func (f *fat) Content(d fs.ID) (fs.Content, error) {
	o, err := f.find(d)
	if err != nil {
		return nil, err
	}
	if o.dir() {
		return nil, fmt.Errorf("entry %v is not a regular file", d)
	}
	return fs.NewMapped(f.dev, o.size, o.mapped()), nil
}

// Prepare implements fs.Filesystem.
func (f *fat) Prepare(w *fs.Write, s fs.Sink) {
	f.ledger.Owners(w.Off, w.Len, func(o blockmap.Owner) { s.Touch(o.ID) })
	f.places.Find(w.Off, w.Len, func(o blockmap.Owner) { f.directory(o.ID, w, s) })
	if t := f.vol.boot; w.Off < t.Table+t.TableLen && t.Table < w.Off+w.Len {
		f.links(w, s)
	}
	f.compare(w)
	f.ledger.Compare(f.dev, w, f.vol.boot.Cluster)
}

// maxChanged is how many ranges may be noted before they are put together.
const maxChanged = 1 << 12

// compare notes the sectors behind the tables that w changes: a page cache writes whole
// pages back, in which the clusters of files that nobody wrote to may lie. Zeros over
// zeros are no sign of that: they may be of any file.
func (f *fat) compare(w *fs.Write) {
	at, end := max(w.Off, f.vol.boot.Heap), w.Off+w.Len
	if w.Op != fs.OpWrite && at < end {
		f.differ(at, end-at)
		return
	}
	if at >= end {
		return
	}
	fs.EachSector(f.dev, w, at, func(off uint64, old, now []byte) {
		if old == nil || !bytes.Equal(old, now) || zeros(old) {
			f.differ(off, uint64(len(now)))
		}
	})
}

// differ notes a range that holds other bytes now.
func (f *fat) differ(off, n uint64) {
	if i := len(f.changed); i > 0 && f.changed[i-1].Off+f.changed[i-1].Len == off {
		f.changed[i-1].Len += n
		return
	}
	f.changed = append(f.changed, fs.Range{Off: off, Len: n})
	if len(f.changed) > max(maxChanged, 2*f.joined) {
		f.changed = fs.JoinRanges(f.changed)
		f.joined = len(f.changed)
	}
}

func zeros(b []byte) bool { return b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1]) }

// rewritten reports whether the first sector of a file, or part of it, was changed since
// the last settling, or never held anything of it.
func (f *fat) rewritten(es []fs.Extent) bool {
	if len(es) == 0 {
		return false
	}
	first := es[0]
	if first.State != fs.ExtentData {
		return true
	}
	i, in := slices.BinarySearchFunc(f.changed, first.Physical, func(r fs.Range, at uint64) int { return cmp.Compare(r.Off, at) })
	return in || i > 0 && f.changed[i-1].Off+f.changed[i-1].Len > first.Physical || i < len(f.changed) && f.changed[i].Off < first.Physical+min(fs.SectorSize, first.Length)
}

// directory marks a directory that is written to. Files whose entries are being
// written may get another size or place.
func (f *fat) directory(d fs.ID, w *fs.Write, s fs.Sink) {
	f.dirty[d], f.stale = true, true
	o := f.tree[d]
	if o == nil {
		return
	}
	for _, c := range o.children {
		at := c.loc * entrySize
		if c.dir() || at+2*entrySize <= w.Off || at >= w.Off+w.Len {
			continue
		}
		if w.Op == fs.OpWrite && f.same(at, w) {
			continue
		}
		s.Touch(c.id)
	}
}

// same reports whether w repeats what the entry at byte at, and the one behind
// it, already are.
func (f *fat) same(at uint64, w *fs.Write) bool {
	a, b := max(at, w.Off), min(at+2*entrySize, w.Off+w.Len)
	old := make([]byte, b-a)
	n, _ := f.dev.ReadAt(old, int64(a))
	return n == len(old) && string(old) == string(w.Data[a-w.Off:b-w.Off])
}

// links finds the files whose chains a write to the table changes: the owners of
// the clusters whose entries differ.
func (f *fat) links(w *fs.Write, s fs.Sink) {
	o := f.vol.boot
	a, b := max(w.Off, o.Table), min(w.Off+w.Len, o.Table+o.TableLen)
	old := make([]byte, b-a)
	known := true
	if n, err := f.dev.ReadAt(old, int64(a)); n < len(old) || err != nil {
		known = false
	}
	for k := uint64(0); k < b-a; k++ {
		if known && w.Op == fs.OpWrite && old[k] == w.Data[a+k-w.Off] {
			continue
		}
		f.stale = true
		bit := (a + k - o.Table) * 8
		width := uint64(o.kind)
		if o.kind == exfat {
			width = 32
		}
		for c := bit / width; c <= (bit+7)/width; c++ {
			if !o.valid(c) {
				continue
			}
			f.ledger.Owners(o.offset(c), o.Cluster, func(x blockmap.Owner) {
				if !f.dirty[x.ID] {
					f.dirty[x.ID] = true
					s.Touch(x.ID)
				}
			})
			f.places.Find(o.offset(c), o.Cluster, func(x blockmap.Owner) { f.dirty[x.ID] = true })
		}
	}
}

// Apply implements fs.Filesystem.
func (f *fat) Apply(w *fs.Write, _ fs.Sink) {
	f.batch.At(w.Stamp)
	off, n := w.Off, w.Len
	if off < f.vol.boot.Heap { // tables and a fixed root hold no file's bytes
		cut := min(n, f.vol.boot.Heap-off)
		off, n = off+cut, n-cut
	}
	if n > 0 {
		f.ledger.Write(off, n, w, func(d fs.ID, r fs.Range) { f.batch.Wrote(d, r, w.Stamp, w.Stamp) })
	}
}

// Settle implements fs.Filesystem: the tree is built again where it was written
// to, and compared.
func (f *fat) Settle(at fs.Stamp, s fs.Sink) {
	if f.stale {
		f.rebuild(at)
	}
	f.complain(at, s)
	if f.batch.Empty() {
		return
	}
	tx := &fs.Tx{Basis: fs.BasisWrite, Time: fs.NoTime}
	any := f.batch.Build(tx, func(c delta.Change) {
		f.ledger.Moved(c.ID, c.Old.Extents, c.New.Extents, func(r fs.Range, first, last fs.Stamp) { f.batch.Wrote(c.ID, r, first, last) })
	})
	f.ledger.Release()
	if any {
		f.changed = fs.JoinRanges(f.changed)
		f.pair(tx)
		s.Commit(tx)
	}
	f.changed, f.joined = f.changed[:0], 0
}

// rebuild makes the tree anew and records the old states of what differs.
func (f *fat) rebuild(at fs.Stamp) {
	w := walker{v: f.vol, old: f.tree, dirty: f.dirty, out: tree{}}
	w.walk()
	f.emptied = map[fs.ID]bool{}
	for d, o := range f.tree {
		f.past = max(f.past, o.born)
		if now := w.out[d]; o.dir() && f.dirty[d] && now != nil && !keeps(o, now) {
			f.emptied[d] = true
		}
		if now := w.out[d]; now != o {
			f.batch.Before(d)
			f.displace(o)
		}
		if now := w.out[d]; now == nil || now.err == nil {
			delete(f.broken, d)
		}
	}
	for d, o := range w.out {
		if was := f.tree[d]; was != o {
			f.batch.Absent(d)
			f.place(o)
			if o.err != nil && (was == nil || was.err == nil) {
				f.broken[d] = at
			}
		}
	}
	f.tree, f.stale = w.out, false
	if w.label != "" {
		f.label = w.label
	}
	clear(f.dirty)
}

// keeps reports whether anything that was in a directory still is.
func keeps(was, now *object) bool {
	type name struct {
		id   fs.ID
		name string
	}
	had := make(map[name]bool, len(was.children))
	for _, c := range was.children {
		had[name{c.id, c.name}] = true
	}
	return slices.ContainsFunc(now.children, func(c *object) bool { return had[name{c.id, c.name}] })
}

// complain reports what cannot be read and has stayed so: an entry reaches the disk
// before or after its chain, and in between is broken as every such file is.
func (f *fat) complain(at fs.Stamp, s fs.Sink) {
	for _, d := range slices.SortedFunc(maps.Keys(f.broken), fs.ID.Compare) {
		if since := f.broken[d]; at.Time == fs.EndOfTape || at.Time-since.Time > fs.WritebackLag {
			delete(f.broken, d)
			if o := f.tree[d]; o != nil && o.err != nil {
				s.Problem(fs.Problem{Kind: problemKind(o.err), At: since, ID: d, Text: o.err.Error()})
			}
		}
	}
}
