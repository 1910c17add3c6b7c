package ntfs

import (
	"bytes"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Tags of reparse points, MS-FSCC 2.1.2.1.
const (
	reparseSymlink = 0xa000000c
	reparseMount   = 0xa0000003
	reparseLX      = 0xa000001d // what follows is of the Windows Subsystem for Linux: a symbolic link,
	reparseUnix    = 0x80000023 // a socket, a pipe, and devices
	reparseFIFO    = 0x80000024
	reparseChar    = 0x80000025
	reparseBlock   = 0x80000026
	reparseWOF     = 0x80000017 // compressed by the overlay filter

	// ntfs-3g keeps Unix nodes as system files whose content begins with a mark of Interix
	// (INTX_FILE, include/ntfs-3g/layout.h); a target has at most PATH_MAX characters.
	intxHead = 8
	maxIntx  = intxHead + 2*4096
)

func (f *file) reparseTag() uint32 {
	if len(f.reparse) < 8 {
		return 0
	}
	return le.Uint32(f.reparse)
}

// node reads the content of a file that may be a Unix node of Interix; ntfs-3g looks at
// the size, too (ntfs_fuse_getattr, src/ntfs-3g.c).
func (f *file) node(v *Volume) error {
	s := f.stream("")
	if s == nil || f.flags&recordDir != 0 || f.attributes()&fileSystem == 0 || s.size <= intxHead || s.size > maxIntx {
		return nil
	}
	b := make([]byte, s.size)
	if err := v.readStream(s, b); err != nil {
		return err
	}
	if !bytes.HasPrefix(b, []byte("Intx")) {
		return nil
	}
	f.intx = b
	f.apart = append(f.apart, s.runs...)
	return nil
}

// attributes are the file attributes of MS-FSCC 2.6.
func (f *file) attributes() uint32 {
	if len(f.std) < 36 {
		return 0
	}
	return le.Uint32(f.std[32:])
}

// special recognises links, pipes, sockets and device nodes, which are files or
// directories with a mark.
func (f *file) special(a *fs.Attr) {
	tag := f.reparseTag()
	if t, ok := reparseTarget(f.reparse); ok {
		a.Type, a.Target, a.Size = fs.TypeSymlink, t, uint64(len(t))
		return
	}
	if t, ok := map[uint32]fs.Type{reparseUnix: fs.TypeSocket, reparseFIFO: fs.TypeFIFO, reparseChar: fs.TypeCharDevice, reparseBlock: fs.TypeBlockDevice}[tag]; ok {
		a.Type, a.Size = t, 0
		return
	}
	if a.Type != fs.TypeFile || f.attributes()&fileSystem == 0 || f.stream("") == nil {
		return
	}
	switch v := f.intx; {
	case f.attributes()&fileHidden == 0 && a.Size == 0:
		a.Type = fs.TypeFIFO
	case f.attributes()&fileHidden == 0 && a.Size == 1:
		a.Type = fs.TypeSocket
	case bytes.HasPrefix(v, []byte("IntxLNK\x01")):
		a.Type, a.Target = fs.TypeSymlink, fs.UTF16LE(v[intxHead:])
		a.Size = uint64(len(a.Target))
	case len(v) == 24 && bytes.HasPrefix(v, []byte("IntxCHR\x00")):
		a.Type, a.Rdev = fs.TypeCharDevice, device(uint32(le.Uint64(v[8:])), uint32(le.Uint64(v[16:])))
	case len(v) == 24 && bytes.HasPrefix(v, []byte("IntxBLK\x00")):
		a.Type, a.Rdev = fs.TypeBlockDevice, device(uint32(le.Uint64(v[8:])), uint32(le.Uint64(v[16:])))
	}
}

// device is a device number as fs.Attr has it (new_encode_dev, include/linux/kdev_t.h).
func device(major, minor uint32) uint32 {
	return minor&0xff | major&0xfff<<8 | minor&0xfff00<<12
}

// reparseTarget returns the target of a symbolic link or junction.
func reparseTarget(b []byte) (string, bool) {
	if len(b) < 8 {
		return "", false
	}
	tag, d := le.Uint32(b), b[8:]
	if n := int(le.Uint16(b[4:])); n < len(d) {
		d = d[:n]
	}
	switch tag {
	case reparseLX:
		if len(d) < 4 {
			return "", false
		}
		return string(d[4:]), true
	case reparseSymlink, reparseMount:
		head := 8
		if tag == reparseSymlink {
			head = 12
		}
		if len(d) < head {
			return "", false
		}
		at, n := head+int(le.Uint16(d[4:])), int(le.Uint16(d[6:])) // the print name
		if n == 0 {
			at, n = head+int(le.Uint16(d)), int(le.Uint16(d[2:]))
		}
		if at+n > len(d) {
			return "", false
		}
		return fs.UTF16LE(d[at : at+n]), true
	}
	return "", false
}
