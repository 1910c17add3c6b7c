package fstest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"sort"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Model is a volume's tree kept from a crawl and then from deltas alone. It
// implements fs.Visitor and fs.Sink.
type Model struct {
	Inodes   map[fs.ID]fs.Attr
	Names    map[fs.ID]map[string]fs.Dirent // by directory
	Problems []fs.Problem
	Txs      []*fs.Tx
	Touched  map[fs.ID]int
	Faults   []string // deltas that contradict the model: each is a bug of the filesystem
}

// NewModel is an empty tree.
func NewModel() *Model {
	return &Model{Inodes: map[fs.ID]fs.Attr{}, Names: map[fs.ID]map[string]fs.Dirent{}, Touched: map[fs.ID]int{}}
}

func (m *Model) fault(f string, a ...any) {
	if len(m.Faults) < 100 {
		m.Faults = append(m.Faults, fmt.Sprintf(f, a...))
	}
}

// Inode implements fs.Visitor.
func (m *Model) Inode(a fs.Attr) {
	if _, ok := m.Inodes[a.ID]; ok {
		m.fault("crawl: inode %v twice", a.ID)
	}
	if !a.Live {
		m.fault("crawl: inode %v is not live", a.ID)
	}
	m.Inodes[a.ID] = a
}

// Link implements fs.Visitor.
func (m *Model) Link(d fs.Dirent) {
	n := m.Names[d.Parent]
	if n == nil {
		n = map[string]fs.Dirent{}
		m.Names[d.Parent] = n
	}
	if _, ok := n[d.Name]; ok {
		m.fault("crawl: %q twice in %v", d.Name, d.Parent)
	}
	n[d.Name] = d
}

// Problem implements fs.Visitor and fs.Sink.
func (m *Model) Problem(p fs.Problem) { m.Problems = append(m.Problems, p) }

// Touch implements fs.Sink.
func (m *Model) Touch(id fs.ID) { m.Touched[id]++ }

// move gives what has another number now that one: each may have taken another's.
func (m *Model) move(tx *fs.Tx) {
	moved, left := map[fs.ID]fs.Attr{}, map[fs.ID]bool{}
	for _, c := range tx.Inodes {
		if c.Was != (fs.ID{}) {
			was := m.Inodes[c.Was]
			was.ID = c.ID
			moved[c.ID], left[c.Was] = was, true
		}
	}
	for _, c := range tx.Inodes {
		if have := m.Inodes[c.ID]; c.Was != (fs.ID{}) && !left[c.ID] && have != c.Displaced {
			m.fault("tx %d: number %v was of %+v, delta says %+v", tx.Number, c.ID, have, c.Displaced)
		}
	}
	for id := range left {
		delete(m.Inodes, id)
	}
	maps.Copy(m.Inodes, moved)
}

// Commit implements fs.Sink.
func (m *Model) Commit(tx *fs.Tx) {
	m.Txs = append(m.Txs, tx)
	m.move(tx)
	for _, c := range tx.Inodes {
		if have := m.Inodes[c.ID]; c.Old.Live && c.New.Live && (c.Old.Generation != c.New.Generation || have.Generation == uint64(have.BTime)) {
			c.Old.Generation = have.Generation // the number was used again, or, on FAT, was not though the time is another
		}
		if have := m.Inodes[c.ID]; have != c.Old && !c.OldUnknown {
			m.fault("tx %d: inode %v was %+v, delta says %+v", tx.Number, c.ID, have, c.Old)
		}
		if c.New.Live {
			m.Inodes[c.ID] = c.New
		} else {
			delete(m.Inodes, c.ID)
		}
	}
	for _, d := range tx.Removed {
		if have, ok := m.Names[d.Parent][d.Name]; !ok || have.Child != d.Child {
			m.fault("tx %d: removes %q of %v which is not there", tx.Number, d.Name, d.Parent)
			continue
		}
		delete(m.Names[d.Parent], d.Name)
	}
	for _, d := range tx.Added {
		if _, ok := m.Names[d.Parent][d.Name]; ok {
			m.fault("tx %d: adds %q to %v twice", tx.Number, d.Name, d.Parent)
		}
		m.Link(d)
	}
}

// Tree lists every path from root, with content hashed through f.
func (m *Model) Tree(f fs.Filesystem, root fs.ID) ([]Entry, error) {
	var out []Entry
	hashes := map[fs.ID]string{}
	on := map[fs.ID]bool{}
	var walk func(id fs.ID, path string) error
	walk = func(id fs.ID, path string) error {
		a, ok := m.Inodes[id]
		if !ok {
			return fmt.Errorf("%s: inode %v is not in the model", path, id)
		}
		e, err := entry(f, a, path, hashes)
		if err != nil {
			return err
		}
		out = append(out, e)
		if a.Type != fs.TypeDir || on[id] {
			return nil
		}
		on[id] = true
		defer delete(on, id)
		names := make([]string, 0, len(m.Names[id]))
		for n := range m.Names[id] {
			names = append(names, n)
		}
		sort.Strings(names)
		for _, n := range names {
			sub := path + "/" + n
			if path == "/" {
				sub = "/" + n
			}
			if err := walk(m.Names[id][n].Child, sub); err != nil {
				return err
			}
		}
		return nil
	}
	err := walk(root, "/")
	return out, err
}

func entry(f fs.Filesystem, a fs.Attr, path string, hashes map[fs.ID]string) (Entry, error) {
	e := Entry{
		Path: path, Type: string("?fdcbpsl"[a.Type]), Mode: a.Mode, UID: a.UID, GID: a.GID, Links: a.Links,
		Ino: a.ID.Num, MTime: a.MTime, CTime: a.CTime, Size: a.Size, Target: a.Target,
	}
	switch a.Type {
	case fs.TypeFile:
		h, ok := hashes[a.ID]
		if !ok {
			var err error
			if h, err = hash(f, a.ID); err != nil {
				return e, fmt.Errorf("%s: %w", path, err)
			}
			hashes[a.ID] = h
		}
		e.SHA256 = h
	case fs.TypeCharDevice, fs.TypeBlockDevice:
		e.Device = []uint32{a.Rdev >> 8 & 0xfff, a.Rdev&0xff | a.Rdev>>12&0xfff00}
	}
	xs, err := f.Xattrs(a.ID)
	if err != nil {
		return e, fmt.Errorf("%s: %w", path, err)
	}
	for _, x := range xs {
		if e.Xattrs == nil {
			e.Xattrs = map[string]string{}
		}
		s := sha256.Sum256(x.Value)
		e.Xattrs[x.Name] = hex.EncodeToString(s[:])[:16]
	}
	return e, nil
}

func hash(f fs.Filesystem, id fs.ID) (string, error) {
	c, err := f.Content(id)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(h, io.NewSectionReader(c, 0, int64(c.Size())), make([]byte, 256<<10)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Same lists how two models differ, at most a few lines.
func Same(a, b *Model) []string {
	var out []string
	say := func(f string, v ...any) {
		if len(out) < 20 {
			out = append(out, fmt.Sprintf(f, v...))
		}
	}
	for id, x := range a.Inodes {
		if y, ok := b.Inodes[id]; !ok {
			say("inode %v only in the first", id)
		} else if x != y {
			say("inode %v: %+v against %+v", id, x, y)
		}
	}
	for id := range b.Inodes {
		if _, ok := a.Inodes[id]; !ok {
			say("inode %v only in the second", id)
		}
	}
	names := func(m, n *Model, which string) {
		for p, l := range m.Names {
			for k, d := range l {
				if e, ok := n.Names[p][k]; !ok || e.Child != d.Child {
					say("%q of %v only in the %s", k, p, which)
				}
			}
		}
	}
	names(a, b, "first")
	names(b, a, "second")
	sort.Strings(out)
	return out
}
