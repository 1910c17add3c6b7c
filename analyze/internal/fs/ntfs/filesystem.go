package ntfs

import (
	"errors"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/blockmap"
	"github.com/xentape/xentape/analyze/internal/fs/delta"
)

// ntfs follows one volume.
type ntfs struct {
	dev    fs.Device
	vol    *Volume
	ledger blockmap.Ledger
	units  map[fs.ID]uint64 // bytes of a compression unit, for compressed files
	batch  *delta.Batch
	files  map[uint64]bool // records in batch

	described blockmap.Map     // by clusters: files of which they tell more than content,
	apart     map[uint64][]run // and of these, the clusters

	now  fs.Stamp
	lost error // why part of the MFT is not found

	// A name counts while the directory it refers to is there, which may reach the disk later
	// or go earlier: by record, what has names in it, and where what has names.
	children map[uint64]map[uint64]bool
	parents  map[uint64][]uint64

	journal journal
}

// Open looks for an NTFS boot sector at the start of dev.
func Open(dev fs.Device, _ fs.Options) (fs.Filesystem, error) {
	v, err := OpenVolume(dev)
	if errors.Is(err, ErrNotNTFS) {
		return nil, fs.ErrNotFound
	}
	if err != nil && v == nil {
		return nil, err
	}
	n := &ntfs{dev: dev, vol: v, units: map[fs.ID]uint64{}, batch: delta.New(v), files: map[uint64]bool{}, apart: map[uint64][]run{}, children: map[uint64]map[uint64]bool{}, parents: map[uint64][]uint64{}}
	return n, err
}

// Identify says what the boot sector announces; fs.ErrNotFound when it is not of
// an NTFS.
func Identify(dev fs.Device) (fs.Info, error) {
	b := make([]byte, bootSize)
	if _, err := dev.ReadAt(b, 0); err != nil {
		return fs.Info{}, fs.ErrNotFound
	}
	boot, err := ParseBoot(b)
	if errors.Is(err, ErrNotNTFS) {
		return fs.Info{}, fs.ErrNotFound
	}
	if err != nil {
		return fs.Info{}, err
	}
	return boot.info(), nil
}

func (o *Boot) info() fs.Info {
	return fs.Info{
		Type: "ntfs", UUID: fmt.Sprintf("%016X", o.Serial), BlockSize: o.Cluster, Size: o.Size,
		Root: id(rootRecord, ""), Lag: fs.WritebackLag,
	}
}

// Info implements fs.Filesystem.
func (n *ntfs) Info() fs.Info {
	i := n.vol.boot.info()
	i.Tells = n.journal.num != 0
	if r, err := n.vol.record(3); err == nil { // $Volume
		for _, a := range r.attrs {
			if a.typ == attrVolumeName && a.resident {
				i.Label = fs.UTF16LE(a.value)
			}
		}
	}
	return i
}

// Crawl implements fs.Filesystem.
func (n *ntfs) Crawl(v fs.Visitor) error {
	n.ledger, n.units, n.journal = blockmap.Ledger{}, map[fs.ID]uint64{}, journal{}
	n.described, n.apart = blockmap.Map{}, map[uint64][]run{}
	n.children, n.parents = map[uint64]map[uint64]bool{}, map[uint64][]uint64{}
	vol := n.vol
	for num := uint64(0); num < vol.records(); num++ {
		f, err := vol.file(num)
		if err != nil && !(f == nil && errors.Is(err, fs.ErrNotFound)) {
			v.Problem(fs.Problem{Kind: problemKind(err), ID: id(num, ""), Text: err.Error()})
		}
		n.describe(num, f)
		if f != nil && f.isJournal() {
			if err := n.journal.attach(vol, f, true); err != nil {
				v.Problem(fs.Problem{Kind: problemKind(err), ID: id(num, ""), Text: "change journal: " + err.Error()})
			}
		}
		if f == nil || f.internal() {
			continue
		}
		n.visit(v, f, f.stream(""))
		for _, s := range f.streams {
			if s.name != "" {
				n.visit(v, f, s)
			}
		}
		if f.reparseTag() == reparseWOF {
			v.Problem(fs.Problem{Kind: fs.ProblemUnsupported, ID: id(num, ""), Text: "content compressed by the overlay filter is not read"})
		}
	}
	return nil
}

func (n *ntfs) visit(v fs.Visitor, f *file, s *stream) {
	a := f.attr(s)
	v.Inode(a)
	for _, d := range n.vol.entries(f, a, s) {
		v.Link(d)
	}
	if s == nil || a.Type != fs.TypeFile {
		return
	}
	n.note(a.ID, s)
	n.ledger.Add(a.ID, n.vol.extents(s))
}

// note remembers that a file is compressed: a write changes a whole unit of it.
func (n *ntfs) note(d fs.ID, s *stream) {
	if s != nil && s.unit > 0 {
		n.units[d] = s.unit * n.vol.boot.Cluster
	} else {
		delete(n.units, d)
	}
}

// Kept implements fs.Keeper.
func (n *ntfs) Kept() []fs.Dirent { return n.batch.Kept() }

// Stat implements fs.Filesystem.
func (n *ntfs) Stat(d fs.ID) (fs.Attr, error) {
	f, s, err := n.vol.find(d)
	if f == nil {
		return fs.Attr{}, err
	}
	return f.attr(s), err
}

// Xattrs implements fs.Filesystem. Streams are files of their own here.
func (n *ntfs) Xattrs(d fs.ID) ([]fs.Xattr, error) {
	f, _, err := n.vol.find(d)
	if f == nil || d.Space != 0 {
		return nil, err
	}
	return f.xattrs(), err
}

// Content implements fs.Filesystem.
func (n *ntfs) Content(d fs.ID) (fs.Content, error) {
	f, s, err := n.vol.find(d)
	if err != nil {
		return nil, err
	}
	if f.attr(s).Type != fs.TypeFile {
		return nil, fmt.Errorf("file record %d is not a regular file", d.Num)
	}
	if f.reparseTag() == reparseWOF && d.Space == 0 {
		return nil, fmt.Errorf("file record %d: compressed by the overlay filter: %w", d.Num, fs.ErrUnsupported)
	}
	if s == nil {
		return fs.NewInline(0, nil), nil
	}
	return n.vol.content(n.dev, s), nil
}
