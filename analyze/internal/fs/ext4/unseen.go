package ext4

import "github.com/xentape/xentape/analyze/internal/fs"

// Without a journal an inode may name an attribute block that has yet to be written: what
// lies there is of the block's last owner. It is written whenever an inode comes to it,
// anew or, where several share it, for its h_refcount (ext4_xattr_block_set,
// fs/ext4/xattr.c).

// watchXattr notes whether the attribute block of an inode is there yet. It is called
// before the inode claims it.
func (d *differ) watchXattr(c *change) {
	f, b := d.f, c.new.acl
	if f.journaled() || b == 0 || c.oldLive && c.old.acl == b && c.old.gen == c.new.gen {
		return
	}
	if _, waits := f.pending.get(b); waits || d.t.wrote[b] != 0 || d.shared(b) {
		delete(f.unseen, b)
		return
	}
	f.unseen[b] = true
}

// shared reports whether a block is of attributes that several inodes have.
func (d *differ) shared(b uint64) bool {
	if c, ok := d.f.claims.get(b); !ok || c.kind != kindXattr {
		return false
	}
	raw, err := d.f.now.block(b)
	return err == nil && le.Uint32(raw) == xattrMagic && le.Uint32(raw[4:]) > 1
}

// seenXattrs are those of an inode, without the ones of a block that is not there yet.
func (v *view) seenXattrs(i *inode, unseen map[uint64]bool) ([]fs.Xattr, error) {
	seen := *i
	if unseen[i.acl] {
		seen.acl = 0
	}
	return v.xattrs(&seen)
}
