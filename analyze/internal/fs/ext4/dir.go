package ext4

import (
	"encoding/base64"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// entry is one directory entry other than "." and "..".
type entry struct {
	name string
	ino  uint32
	typ  fs.Type
}

// parseDir reads the entries of one directory block, or of a piece of an inline
// directory. Blocks of the hash index read as empty: their entries hide behind
// one that covers the block. ok is false when the chain of lengths breaks.
func (s *super) parseDir(b []byte, out []entry) (_ []entry, ok bool) {
	for o := 0; o+8 <= len(b); {
		length := int(le.Uint16(b[o+4:]))
		if len(b) == 65536 && (length == 0 || length == 65535) {
			length = 65536 // ext4_rec_len_from_disk
		}
		if length < 8 || length%4 != 0 || o+length > len(b) {
			return out, false
		}
		ino, nameLen, typ := le.Uint32(b[o:]), int(b[o+6]), fs.TypeUnknown
		if s.incompat&incompatFiletype != 0 && b[o+7] < 8 {
			// Without the feature the byte may hold anything: the kernel leaves it as
			// the block's last owner did (ext4_set_de_type).
			typ = fs.Type(b[o+7])
		}
		if ino != 0 && nameLen > 0 {
			if nameLen > length-8 || nameLen > 255 {
				return out, false
			}
			name := string(b[o+8 : o+8+nameLen])
			if name != "." && name != ".." {
				out = append(out, entry{name, ino, typ})
			}
		}
		o += length
	}
	return out, true
}

// inlineEntries are those stored in the inode itself: after the four bytes of
// the parent's number, and in the system.data attribute.
func (v *view) inlineEntries(i *inode) ([]entry, bool) {
	out, ok := v.parseDir(i.block()[4:], nil)
	if ea := inlineAttr(i); ea != nil {
		more, ok2 := v.parseDir(ea, out)
		return more, ok && ok2
	}
	return out, ok
}

// names turns the stored bytes of an encrypted directory into text.
func (i *inode) names(es []entry) []entry {
	if i.flags&flagEncrypt == 0 {
		return es
	}
	for k := range es {
		es[k].name = "<encrypted:" + base64.RawURLEncoding.EncodeToString([]byte(es[k].name)) + ">"
	}
	return es
}

// names reports whether a directory's blocks hold an entry.
func (v *view) names(k direntKey) bool {
	dir, err := v.inode(k.parent)
	if err != nil || !dir.isDir() {
		return false
	}
	want := func(es []entry) bool {
		return slices.ContainsFunc(dir.names(es), func(e entry) bool { return e.name == k.name && e.ino == k.child })
	}
	if dir.inline() {
		es, _ := v.inlineEntries(&dir)
		return want(es)
	}
	found := false
	m := v.mapping(&dir)
	v.dirBlocks(&m, func(b uint64) {
		if raw, err := v.block(b); err == nil && !found {
			es, _ := v.parseDir(raw, nil)
			found = want(es)
		}
	})
	return found
}

// checkDirBlock verifies the checksum in the tail of a leaf block; true when it
// has none (struct ext4_dir_entry_tail; index blocks have theirs elsewhere).
func (v *view) checkDirBlock(dir *inode, b []byte) bool {
	if !v.metadataCsum() || len(b) < 12 {
		return true
	}
	t := b[len(b)-12:]
	if le.Uint32(t) != 0 || le.Uint16(t[4:]) != 12 || t[6] != 0 || t[7] != 0xde {
		return true
	}
	if !reaches(b, len(b)-12) {
		return true // an index block made from a leaf keeps its old tail as residue
	}
	return v.inodeSum(dir, b[:len(b)-12]) == le.Uint32(t[8:])
}

// reaches reports whether the chain of entries has one that starts at end.
func reaches(b []byte, end int) bool {
	o := 0
	for o < end {
		n := int(le.Uint16(b[o+4:]))
		if n < 8 {
			return false
		}
		o += n
	}
	return o == end
}

// inodeSum is the checksum of a block that belongs to an inode.
func (v *view) inodeSum(i *inode, b []byte) uint32 {
	var num, gen [4]byte
	le.PutUint32(num[:], i.num)
	le.PutUint32(gen[:], i.gen)
	return crc32c(crc32c(crc32c(v.csumSeed, num[:]), gen[:]), b)
}
