package process

import (
	"errors"
	"fmt"
	"slices"

	"github.com/xentape/xentape/analyze/internal/linux/objects"
	"github.com/xentape/xentape/format"
)

// CachedFile is what of a file was in the page cache.
type CachedFile struct {
	FileID
	pages map[uint64]uint64 // index: guest frame
	v     *objects.View
}

// PageCache finds a file by its device and inode number in the snapshot fed
// last, and lists which of its pages are in memory. It is valid until the next
// Feed.
func (a *Analyzer) PageCache(major, minor uint32, inode uint64) (*CachedFile, error) {
	if a.k == nil || len(a.snaps) == 0 {
		return nil, errors.New("no snapshot was read")
	}
	v := objects.NewView(a.k)
	at := uint64(0)
	for _, p := range a.snaps[len(a.snaps)-1].procs {
		if id := p.holds(major, minor, inode); id != nil {
			at = uint64(id.Address)
			break
		}
	}
	if at == 0 {
		var err error
		if at, err = v.FindInode(major, minor, inode); err != nil {
			return nil, err
		}
	}
	i, err := v.Inode(at)
	if err != nil {
		return nil, err
	}
	if i.Size < 0 {
		return nil, fmt.Errorf("inode %d of device %d:%d: size %d", inode, major, minor, i.Size)
	}
	f := &CachedFile{FileID: *fileID(objects.File{Inode: i}), pages: map[uint64]uint64{}, v: v}
	f.Deleted = i.Links == 0
	last := (uint64(i.Size) + format.PageSize - 1) / format.PageSize
	err = v.PageCache(at, func(p objects.CachedPage) {
		if p.Index < last {
			f.pages[p.Index] = p.Frame
		}
	})
	return f, err
}

// holds returns the process's file of that name, open, executed or mapped.
func (p *Process) holds(major, minor uint32, inode uint64) *FileID {
	is := func(id *FileID) bool {
		return id != nil && id.Major == major && id.Minor == minor && id.Inode == inode
	}
	if is(p.ExeFile) {
		return p.ExeFile
	}
	for i := range p.Files {
		if is(&p.Files[i].FileID) {
			return &p.Files[i].FileID
		}
	}
	for i := range p.Maps {
		if is(p.Maps[i].FileID) {
			return p.Maps[i].FileID
		}
	}
	return nil
}

// Missing lists the bytes of the file that are not in memory.
func (f *CachedFile) Missing() []format.Extent {
	var out []format.Extent
	at := uint64(0)
	for _, i := range f.indices() {
		if from := i * format.PageSize; from > at {
			out = append(out, format.Extent{Start: at, Count: from - at})
		}
		at = (i + 1) * format.PageSize
	}
	if size := uint64(f.Size); at < size {
		out = append(out, format.Extent{Start: at, Count: size - at})
	}
	return out
}

func (f *CachedFile) indices() []uint64 {
	out := make([]uint64, 0, len(f.pages))
	for i := range f.pages {
		out = append(out, i)
	}
	slices.Sort(out)
	return out
}

// Pages gives the cached content in order: offset in the file, and the bytes,
// which are valid during the call only. The last is cut to the file's size.
func (f *CachedFile) Pages(visit func(offset uint64, b []byte) error) error {
	for _, i := range f.indices() {
		p, err := f.v.Frame(f.pages[i])
		if err != nil {
			return fmt.Errorf("page %d of inode %d: %w", i, f.Inode, err)
		}
		off := i * format.PageSize
		if err := visit(off, p[:min(format.PageSize, uint64(f.Size)-off)]); err != nil {
			return err
		}
	}
	return nil
}
