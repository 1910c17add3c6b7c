package ntfs

import (
	"fmt"
	"slices"
	"strings"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// maxEA is the largest $EA there can be: $EA_INFORMATION counts its bytes in 16 bits.
const maxEA = 64 << 10

// parseEA decodes $EA, FILE_FULL_EA_INFORMATION of MS-FSCC 2.4.16: what is set by OS/2
// calls, by the Windows Subsystem for Linux ($LXMOD and others), and as user.* by Linux's
// ntfs3. Sorted by name; what could be read is returned beside an error.
func parseEA(b []byte) ([]fs.Xattr, error) {
	const head = 8
	var out []fs.Xattr
	var err error
	for len(b) > 0 {
		if len(b) < head {
			err = fmt.Errorf("extended attributes: %d bytes are left: %w", len(b), fs.ErrCorrupt)
			break
		}
		next, name, value := le.Uint32(b), int(b[5]), int(le.Uint16(b[6:]))
		end := head + name + 1 + value
		if name == 0 || end > len(b) || next != 0 && (uint64(next) < uint64(end) || uint64(next) > uint64(len(b))) {
			err = fmt.Errorf("extended attribute of %d and %d bytes, the next %d on, in %d: %w", name, value, next, len(b), fs.ErrCorrupt)
			break
		}
		out = append(out, fs.Xattr{Name: string(b[head : head+name]), Value: slices.Clone(b[head+name+1 : end])})
		if next == 0 {
			break
		}
		b = b[next:]
	}
	slices.SortStableFunc(out, func(a, b fs.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return out, err
}

// xattrs are the extended attributes of f. Streams are files of their own.
func (f *file) xattrs() []fs.Xattr {
	out, _ := parseEA(f.ea) // what is wrong with it was said when f was read
	return out
}

// unix takes owner, mode and device number from where the Windows Subsystem for Linux
// keeps them; Linux's ntfs3 shows them, too (ntfs_get_wsl_perm, fs/ntfs3/xattr.c).
func (f *file) unix(a *fs.Attr) {
	for _, x := range f.xattrs() {
		switch {
		case x.Name == "$LXUID" && len(x.Value) == 4:
			a.UID = le.Uint32(x.Value)
		case x.Name == "$LXGID" && len(x.Value) == 4:
			a.GID = le.Uint32(x.Value)
		case x.Name == "$LXMOD" && len(x.Value) == 4:
			a.Mode = uint16(le.Uint32(x.Value)) & 0o7777
		case x.Name == "$LXDEV" && len(x.Value) == 8 && (a.Type == fs.TypeCharDevice || a.Type == fs.TypeBlockDevice):
			a.Rdev = device(le.Uint32(x.Value), le.Uint32(x.Value[4:]))
		}
	}
}
