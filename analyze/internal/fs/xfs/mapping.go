package xfs

import (
	"fmt"
	"sort"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// mapping finds the block that backs a logical block in sorted extents.
type mapping struct{ ext []Extent }

func newMapping(ext []Extent) *mapping { return &mapping{ext: ext} }

// block returns the filesystem block that holds logical block l.
func (m *mapping) block(l uint64) (uint64, bool) {
	k := sort.Search(len(m.ext), func(k int) bool { return m.ext[k].Logical+m.ext[k].Count > l })
	if k == len(m.ext) || m.ext[k].Logical > l {
		return 0, false
	}
	return m.ext[k].Block + (l - m.ext[k].Logical), true
}

// fileExtents are the mappings of a regular file in bytes of the volume.
func (v *Volume) fileExtents(i *Inode) ([]fs.Extent, error) {
	if i.Type() != TypeRegular {
		return nil, nil
	}
	if i.Flags&flagRealtime != 0 {
		return nil, fmt.Errorf("inode %d: data on the realtime device: %w", i.Ino, fs.ErrUnsupported)
	}
	if i.Format == formatLocal {
		return nil, fmt.Errorf("inode %d: a file in local format: %w", i.Ino, fs.ErrCorrupt)
	}
	ext, err := v.Extents(i)
	out := make([]fs.Extent, 0, len(ext))
	for _, e := range ext {
		phys, _ := v.sb.blockOffset(e.Block)
		x := fs.Extent{Logical: e.Logical << v.sb.BlockLog, Physical: uint64(phys), Length: e.Count << v.sb.BlockLog}
		if e.Unwritten {
			x.State = fs.ExtentUnwritten
		}
		out = append(out, x)
	}
	return out, err
}
