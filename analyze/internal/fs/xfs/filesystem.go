package xfs

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/blockmap"
	"github.com/xentape/xentape/analyze/internal/fs/delta"
)

// xfs follows one volume. Its state is the device, the committed changes that
// are not yet in place (view), and an index from blocks to files.
//
// Both views of fs.Options show the same: what the log has committed is what a
// mount after power loss recovers, deferred work (intents) apart, which changes
// no name and no content.
type xfs struct {
	dev     fs.Device
	vol     *Volume // reads through view
	view    *view
	ring    *logRing // nil: the log is on a device that is not known
	outside bool     // the log is on another device
	trans   *assembler
	next    LSN // where the log's next record will start; 0 = not known
	ahead   map[LSN]bool
	last    LSN // start of the newest transaction applied
	ledger  blockmap.Ledger
	batch   *delta.Batch // log commits and file data
	inplace *delta.Batch // metadata written in place that says something new
	keep    []fs.Range   // of the write under way: older than what is committed
}

// Open looks for an xfs superblock at the start of dev.
func Open(dev fs.Device, o fs.Options) (fs.Filesystem, error) {
	w := newView(dev)
	v, err := OpenVolume(w)
	if err != nil {
		if errors.Is(err, ErrNotXFS) {
			return nil, fs.ErrNotFound
		}
		return nil, err
	}
	x := &xfs{dev: dev, vol: v, view: w, ahead: map[LSN]bool{}}
	x.batch, x.inplace = delta.New(v), delta.New(v)
	x.openLog(o)
	return x, nil
}

// openLog finds the log: inside, or all of a device of its own, from its first block on
// (xfs_alloc_buftarg of the logdev, fs/xfs/xfs_super.c).
func (x *xfs) openLog(o fs.Options) {
	sb := x.vol.sb
	n := uint64(sb.LogBlocks) << sb.BlockLog
	ring := &logRing{r: x.dev, blocks: uint32(n / basicBlock), v2: sb.LogV2, uuid: sb.UUID}
	if sb.LogStart != 0 {
		ring.start, _ = sb.blockOffset(sb.LogStart)
	} else {
		x.outside = true
		if o.Companion == nil {
			return
		}
		dev := o.Companion(sb.UUID)
		if dev == nil || dev.Size() < n {
			return
		}
		ring.r = dev
	}
	x.ring = ring
	x.trans = newAssembler(int(min(n, 1<<30)))
}

// Identify says what the superblock at the start of dev announces;
// fs.ErrNotFound when it is not of an xfs.
func Identify(dev fs.Device) (fs.Info, error) {
	v, err := OpenVolume(dev)
	if errors.Is(err, ErrNotXFS) {
		return fs.Info{}, fs.ErrNotFound
	}
	if err != nil {
		return fs.Info{}, err
	}
	return v.sb.info(), nil
}

// Info implements fs.Filesystem.
func (x *xfs) Info() fs.Info {
	i := x.vol.sb.info()
	i.Journaled = x.ring != nil
	return i
}

// logLag is how long what was logged may stay in memory: the default interval at which
// the log is forced out (fs.xfs.xfssyncd_centisecs, Documentation/admin-guide/xfs.rst).
const logLag = int64(30e9)

func (s *Superblock) info() fs.Info {
	u := s.UUID
	i := fs.Info{
		Type: "xfs", UUID: fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]),
		Label: s.Label, BlockSize: uint64(s.BlockSize), Size: s.Blocks << s.BlockLog,
		Root: id(s.RootInode), Journaled: s.LogStart != 0, Lag: logLag,
		Features: []string{fmt.Sprintf("v%d", s.Version)},
	}
	for _, f := range []struct {
		name string
		on   bool
	}{
		{"bigtime", s.Bigtime}, {"external-log", s.LogStart == 0}, {"finobt", s.ROCompat&1 != 0}, {"ftype", s.Ftype},
		{"needsrepair", s.Incompat&incompatRepair != 0}, {"nrext64", s.Nrext64}, {"parent", s.Incompat&incompatParent != 0},
		{"reflink", s.ROCompat&4 != 0}, {"rmapbt", s.ROCompat&2 != 0}, {"rt", s.RTBlocks != 0}, {"sparse", s.Sparse},
	} {
		if f.on {
			i.Features = append(i.Features, f.name)
		}
	}
	return i
}

// Crawl implements fs.Filesystem. It recovers the log first.
func (x *xfs) Crawl(v fs.Visitor) error {
	if x.next == 0 {
		x.recover(v)
	}
	x.ledger = blockmap.Ledger{}
	err := x.vol.Chunks(func(c Chunk) {
		for set := c.InUse(); set != 0; set &= set - 1 {
			x.visit(v, c.First+uint64(bits.TrailingZeros64(set)))
		}
	})
	if err != nil {
		v.Problem(fs.Problem{Kind: problemKind(err), Text: err.Error()})
		x.walk(v)
	}
	if x.vol.sb.RTBlocks != 0 {
		v.Problem(fs.Problem{Kind: fs.ProblemUnsupported, Text: "file content on the realtime device is not looked at"})
	}
	if x.ring == nil {
		v.Problem(fs.Problem{Kind: fs.ProblemUnsupported, Text: fmt.Sprintf("the log is on another device, with UUID %s in its records, which is not on the tape: changes show when they are written in place", x.vol.sb.info().UUID)})
	}
	return nil
}

// walk visits what directories lead to and the inode btrees, damaged or not
// captured, do not list.
func (x *xfs) walk(v fs.Visitor) {
	seen := map[uint64]bool{}
	var todo []uint64
	if err := x.vol.Chunks(func(c Chunk) {
		for set := c.InUse(); set != 0; set &= set - 1 {
			ino := c.First + uint64(bits.TrailingZeros64(set))
			seen[ino] = true
			todo = append(todo, ino)
		}
	}); err == nil {
		return
	}
	listed := len(todo)
	if !seen[x.vol.Root()] {
		seen[x.vol.Root()] = true
		todo = append(todo, x.vol.Root())
	}
	for k := 0; k < len(todo); k++ {
		i, err := x.vol.inUse(todo[k])
		if err != nil {
			continue // said of its parent's entry, or by visit
		}
		if k >= listed {
			x.visit(v, i.Ino)
		}
		if i.Type() != TypeDir {
			continue
		}
		ds, _ := x.vol.ReadDir(i)
		for _, d := range ds {
			if !seen[d.Ino] {
				seen[d.Ino] = true
				todo = append(todo, d.Ino)
			}
		}
	}
}

func (x *xfs) visit(v fs.Visitor, ino uint64) {
	problem := func(err error) {
		v.Problem(fs.Problem{Kind: problemKind(err), ID: id(ino), Text: err.Error()})
	}
	i, err := x.vol.Inode(ino)
	if err != nil {
		problem(err)
		return
	}
	if i.Mode == 0 {
		problem(fmt.Errorf("inode %d is free in place and in use in the inode btree: %w", ino, fs.ErrCorrupt))
		return
	}
	if !i.ChecksumOK {
		problem(fmt.Errorf("inode %d: checksum does not match: %w", ino, fs.ErrCorrupt))
	}
	a, err := x.vol.stat(i)
	if err != nil {
		problem(err)
	}
	switch a.Type {
	case fs.TypeDir:
		ds, err := x.vol.names(i)
		if err != nil {
			problem(err)
		}
		v.Inode(a)
		for _, d := range ds {
			v.Link(d)
		}
		return
	case fs.TypeFile:
		ext, err := x.vol.fileExtents(i)
		if err != nil {
			problem(err)
		}
		x.ledger.Add(a.ID, ext)
	}
	v.Inode(a)
}

// Stat implements fs.Filesystem.
func (x *xfs) Stat(d fs.ID) (fs.Attr, error) {
	i, err := x.vol.inUse(d.Num)
	if err != nil {
		return fs.Attr{}, err
	}
	return x.vol.stat(i)
}

// Xattrs implements fs.Filesystem.
func (x *xfs) Xattrs(d fs.ID) ([]fs.Xattr, error) {
	i, err := x.vol.inUse(d.Num)
	if err != nil {
		return nil, err
	}
	return x.vol.Xattrs(i)
}

// Committed visits what the log holds that is not in its place yet.
func (x *xfs) Committed(visit func(off uint64, data []byte)) { x.view.Each(visit) }

// Content implements fs.Filesystem.
func (x *xfs) Content(d fs.ID) (fs.Content, error) {
	i, err := x.vol.inUse(d.Num)
	if err != nil {
		return nil, err
	}
	ext, err := x.vol.fileExtents(i)
	if err != nil {
		return nil, err
	}
	return fs.NewMapped(x.dev, i.Size, ext), nil
}
