package ext4

import (
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// outgrown lets files show what lies in place where the journal's copy is of the moment
// at which they outgrew their inodes. The kernel commits that first block as metadata,
// with what the inode held (ext4_convert_inline_data_nolock, fs/ext4/inline.c), and writes
// it in place from then on. A mount after a crash puts the copy back; the guest never saw
// it again. Where file data goes through the journal as a rule (data=journal), which the
// log shows by copies that are nothing else, the copies are the newest there is.
func (f *FS) outgrown() {
	if f.o.View == fs.ViewCrash || f.incompat&incompatInlineData == 0 {
		return
	}
	var blocks []uint64
	asRule := false
	f.layer.Each(func(off uint64, data []byte) {
		c, ok := f.claims.get(off / f.blockSize)
		if !ok || c.kind != kindData {
			return
		}
		if i, err := f.now.inode(c.owner); err != nil || !i.isFile() {
			return // a long symbolic link: it is metadata, and is not written again
		}
		held := data[:min(f.inodeSize, f.blockSize)]
		asRule = asRule || slices.ContainsFunc(data[len(held):], func(b byte) bool { return b != 0 })
		blocks = append(blocks, off/f.blockSize)
	})
	if asRule {
		return
	}
	for _, b := range blocks {
		f.layer.Drop(b)
	}
}
