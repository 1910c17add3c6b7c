package xfs

import (
	"errors"
	"fmt"
	"sort"

	"github.com/xentape/xentape/analyze/internal/fs"
)

const (
	attrLeafV4   = 0xfbee
	attrLeafV5   = 0x3bee
	attrNodeV4   = 0xfebe
	attrNodeV5   = 0x3ebe
	attrRemote   = 0x5841524d // "XARM"
	attrFlLocal  = 1 << 0
	attrFlRoot   = 1 << 1
	attrFlSecure = 1 << 2
	attrFlParent = 1 << 3
	attrFlHalf   = 1 << 7 // incomplete: being made or removed

	maxAttrValue = 64 << 10 // XATTR_SIZE_MAX
	maxAttrs     = 1 << 16
)

// Xattrs lists the extended attributes of i, by name. Parent pointers are left
// out: they repeat directory entries.
func (v *Volume) Xattrs(i *Inode) ([]fs.Xattr, error) {
	if i.ForkOff == 0 {
		return nil, nil
	}
	w := attrWalk{v: v, i: i}
	if i.AttrFormat == formatLocal {
		w.short(i.attrFork())
	} else {
		ext, err := v.forkExtents(i, i.attr())
		w.fail(err)
		w.m = newMapping(ext)
		if len(ext) > 0 {
			w.tree()
		}
	}
	sort.SliceStable(w.out, func(a, b int) bool { return w.out[a].Name < w.out[b].Name })
	return w.out, w.err
}

// attrWalk gathers the attributes of one inode.
type attrWalk struct {
	v   *Volume
	i   *Inode
	m   *mapping
	out []fs.Xattr
	err error
}

func (w *attrWalk) fail(err error) {
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("inode %d: extended attributes: %w", w.i.Ino, err)
	}
}

var errAttrEntry = errors.New("entry runs past its block")

// add keeps one attribute; ok is false when there are too many.
func (w *attrWalk) add(flags uint8, name, value []byte) {
	if flags&(attrFlHalf|attrFlParent) != 0 {
		return
	}
	if len(w.out) >= maxAttrs {
		w.fail(fmt.Errorf("more than %d", maxAttrs))
		return
	}
	n := "user." + string(name)
	switch {
	case flags&attrFlSecure != 0:
		n = "security." + string(name)
	case flags&attrFlRoot != 0:
		n = "trusted." + string(name)
		w.acl(string(name), value)
	}
	w.out = append(w.out, fs.Xattr{Name: n, Value: append([]byte(nil), value...)})
}

// acl shows a POSIX access control list once more as its users know it: listxattr(2)
// names both (xfs_xattr_put_listent). The stored form (struct xfs_acl) is big-endian
// and counts its entries; the other is of linux/posix_acl_xattr.h.
func (w *attrWalk) acl(name string, b []byte) {
	n := map[string]string{"SGI_ACL_FILE": "system.posix_acl_access", "SGI_ACL_DEFAULT": "system.posix_acl_default"}[name]
	if n == "" || len(b) < 4 || uint64(be.Uint32(b)) != uint64(len(b)-4)/12 {
		return
	}
	out := []byte{2, 0, 0, 0}
	for e := b[4:]; len(e) >= 12; e = e[12:] {
		tag, id := be.Uint32(e), be.Uint32(e[4:])
		if tag != 2 && tag != 8 { // ACL_USER, ACL_GROUP
			id = ^uint32(0)
		}
		out = le.AppendUint16(out, uint16(tag))
		out = le.AppendUint16(out, be.Uint16(e[8:]))
		out = le.AppendUint32(out, id)
	}
	w.out = append(w.out, fs.Xattr{Name: n, Value: out})
}

// short parses attributes kept inside the inode (struct xfs_attr_sf_hdr).
func (w *attrWalk) short(b []byte) {
	if len(b) < 4 {
		w.fail(errAttrEntry)
		return
	}
	at := 4
	for k := 0; k < int(b[2]); k++ {
		if at+3 > len(b) {
			w.fail(errAttrEntry)
			return
		}
		nl, vl := int(b[at]), int(b[at+1])
		if at+3+nl+vl > len(b) {
			w.fail(errAttrEntry)
			return
		}
		w.add(b[at+2], b[at+3:at+3+nl], b[at+3+nl:at+3+nl+vl])
		at += 3 + nl + vl
	}
}

// tree goes down the left edge of the attribute btree and then along its leaves.
func (w *attrWalk) tree() {
	seen := map[uint64]bool{}
	l := uint64(0)
	for !seen[l] {
		seen[l] = true
		fsb, ok := w.m.block(l)
		if !ok {
			w.fail(fmt.Errorf("block %d is not mapped", l))
			return
		}
		b, err := w.v.block(fsb)
		if err != nil {
			w.fail(err)
			return
		}
		switch m := be.Uint16(b[8:]); {
		case w.v.sb.Version == 4 && m == attrNodeV4:
			l = uint64(be.Uint32(b[16+4:]))
		case w.v.sb.Version == 5 && m == attrNodeV5:
			l = uint64(be.Uint32(b[64+4:]))
		case w.v.sb.Version == 4 && m == attrLeafV4, w.v.sb.Version == 5 && m == attrLeafV5:
			w.leaf(b)
			if l = uint64(be.Uint32(b)); l == 0 {
				return
			}
		default:
			w.fail(fmt.Errorf("block %#x: magic %#04x is not of an attribute block", fsb, m))
			return
		}
	}
	w.fail(fmt.Errorf("block %d is reached twice", l))
}

// leaf parses one leaf block: a table of entries at the front, names at the back.
func (w *attrWalk) leaf(b []byte) {
	countAt, head := 12, 32
	if w.v.sb.Version == 5 {
		countAt, head = 56, 80
	}
	n := int(be.Uint16(b[countAt:]))
	if head+8*n > len(b) {
		w.fail(fmt.Errorf("%d entries do not fit in a leaf", n))
		return
	}
	for k := 0; k < n; k++ {
		e := b[head+8*k:]
		at, flags := int(be.Uint16(e[4:])), e[6]
		local := flags&attrFlLocal != 0
		if at < head || at+3 > len(b) || !local && at+9 > len(b) {
			w.fail(errAttrEntry)
			continue
		}
		if local {
			vl, nl := int(be.Uint16(b[at:])), int(b[at+2])
			if at+3+nl+vl > len(b) {
				w.fail(errAttrEntry)
				continue
			}
			w.add(flags, b[at+3:at+3+nl], b[at+3+nl:at+3+nl+vl])
			continue
		}
		blk, vl, nl := uint64(be.Uint32(b[at:])), int(be.Uint32(b[at+4:])), int(b[at+8])
		if at+9+nl > len(b) {
			w.fail(errAttrEntry)
			continue
		}
		if flags&attrFlHalf != 0 {
			continue
		}
		val, err := w.remote(blk, vl)
		w.fail(err)
		w.add(flags, b[at+9:at+9+nl], val)
	}
}

// remote reads a value kept in blocks of its own.
func (w *attrWalk) remote(l uint64, n int) ([]byte, error) {
	if n < 0 || n > maxAttrValue {
		return nil, fmt.Errorf("a value of %d bytes", n)
	}
	out := make([]byte, 0, n)
	for ; len(out) < n; l++ {
		fsb, ok := w.m.block(l)
		if !ok {
			return out, fmt.Errorf("value block %d is not mapped", l)
		}
		b, err := w.v.block(fsb)
		if err != nil {
			return out, err
		}
		if w.v.sb.Version == 5 {
			k := int(be.Uint32(b[8:]))
			if be.Uint32(b) != attrRemote || k == 0 || k > len(b)-remoteHead {
				return out, fmt.Errorf("block %#x is not of an attribute value", fsb)
			}
			b = b[remoteHead : remoteHead+k]
		}
		out = append(out, b[:min(len(b), n-len(out))]...)
	}
	return out, nil
}
