package ext4

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

const xattrMagic = 0xea020000

// xattrPrefix by e_name_index (fs/ext4/xattr.h).
var xattrPrefix = map[byte]string{
	1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default",
	4: "trusted.", 6: "security.", 7: "system.", 8: "system.richacl",
}

// rawXattr is an entry before its value is fetched from another inode.
type rawXattr struct {
	index byte
	name  string
	value []byte
	inode uint32 // e_value_inum: the value is the content of that inode
	size  uint32
}

// parseXattrs reads entries at entries; value offsets count from values.
func parseXattrs(entries, values []byte) (out []rawXattr, ok bool) {
	for o := 0; ; {
		if o+4 > len(entries) || le.Uint32(entries[o:]) == 0 {
			return out, true
		}
		if o+16 > len(entries) {
			return out, false
		}
		nameLen := int(entries[o])
		x := rawXattr{index: entries[o+1], inode: le.Uint32(entries[o+4:]), size: le.Uint32(entries[o+8:])}
		off := int(le.Uint16(entries[o+2:]))
		if o+16+nameLen > len(entries) {
			return out, false
		}
		x.name = string(entries[o+16 : o+16+nameLen])
		if x.inode == 0 {
			if off > len(values) || int64(x.size) > int64(len(values)-off) {
				return out, false
			}
			x.value = values[off : off+int(x.size)]
		}
		out = append(out, x)
		o += (16 + nameLen + 3) &^ 3
	}
}

// inodeXattrs are the entries in the slot beyond i_extra_isize.
func inodeXattrs(i *inode) ([]rawXattr, bool) {
	if len(i.raw) < goodOldInode+4 {
		return nil, true
	}
	h := goodOldInode + int(le.Uint16(i.raw[0x80:]))
	if h+4 > len(i.raw) || le.Uint32(i.raw[h:]) != xattrMagic {
		return nil, true
	}
	b := i.raw[h+4:]
	return parseXattrs(b, b)
}

// inlineAttr is the value of system.data, where inline content continues.
func inlineAttr(i *inode) []byte {
	xs, _ := inodeXattrs(i)
	for _, x := range xs {
		if x.index == 7 && x.name == "data" {
			return x.value
		}
	}
	return nil
}

// xattrs lists an inode's attributes as getxattr(2) gives them, sorted by name.
func (v *view) xattrs(i *inode) ([]fs.Xattr, error) {
	raw, ok := inodeXattrs(i)
	var err error
	if !ok {
		err = fmt.Errorf("inode %d: in-inode attributes: %w", i.num, fs.ErrCorrupt)
	}
	if i.acl != 0 {
		b, e := v.block(i.acl)
		switch {
		case e != nil:
			err = fmt.Errorf("inode %d: attribute block: %w", i.num, e)
		case le.Uint32(b) != xattrMagic:
			err = fmt.Errorf("inode %d: attribute block %d: h_magic: %w", i.num, i.acl, fs.ErrCorrupt)
		default:
			more, ok := parseXattrs(b[32:], b)
			if !ok {
				err = fmt.Errorf("inode %d: attribute block %d: %w", i.num, i.acl, fs.ErrCorrupt)
			}
			raw = append(raw, more...)
		}
	}
	var out []fs.Xattr
	for _, x := range raw {
		if x.index == 7 && x.name == "data" || x.index == 9 {
			continue // inline content, the key of an encrypted file: no attribute to its users
		}
		val, e := v.xattrValue(&x)
		if e != nil {
			err = fmt.Errorf("inode %d: attribute %s: %w", i.num, x.name, e)
			continue
		}
		name := xattrPrefix[x.index]
		if name == "" {
			name = fmt.Sprintf("index%d.", x.index)
		}
		out = append(out, fs.Xattr{Name: name + x.name, Value: val})
	}
	slices.SortStableFunc(out, func(a, b fs.Xattr) int { return cmp.Compare(a.Name, b.Name) })
	return out, err
}

// maxXattr bounds a value: XATTR_SIZE_MAX.
const maxXattr = 65536

func (v *view) xattrValue(x *rawXattr) ([]byte, error) {
	val := x.value
	if x.inode != 0 {
		if x.size > maxXattr {
			return nil, fmt.Errorf("e_value_size %d: %w", x.size, fs.ErrCorrupt)
		}
		in, err := v.inode(x.inode)
		if err != nil {
			return nil, err
		}
		if in.flags&flagEAInode == 0 {
			return nil, fmt.Errorf("e_value_inum %d: %w", x.inode, fs.ErrCorrupt)
		}
		val = make([]byte, x.size)
		if _, err := v.content(&in).ReadAt(val, 0); err != nil && !atEnd(err) {
			return nil, err
		}
	}
	if x.index == 2 || x.index == 3 {
		return posixACL(val), nil
	}
	return append([]byte(nil), val...), nil
}

// posixACL turns the stored form (struct ext4_acl_entry, which leaves the id out
// where it means nothing) into the one getxattr gives (linux/posix_acl_xattr.h).
func posixACL(b []byte) []byte {
	if len(b) < 4 || le.Uint32(b) != 1 {
		return append([]byte(nil), b...)
	}
	out := []byte{2, 0, 0, 0}
	for o := 4; o+4 <= len(b); {
		tag := le.Uint16(b[o:])
		out = append(out, b[o:o+4]...)
		o += 4
		if tag == 2 || tag == 8 { // ACL_USER, ACL_GROUP
			if o+4 > len(b) {
				return append([]byte(nil), b...)
			}
			out = append(out, b[o:o+4]...)
			o += 4
			continue
		}
		out = append(out, 0xff, 0xff, 0xff, 0xff)
	}
	return out
}
