package objects

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// maxFDs bounds a descriptor table: the kernel's own ceiling for fs.nr_open is
// higher, but no table seen has more than its default.
const maxFDs = 1 << 20

// File is an open file description.
type File struct {
	FD    int
	Addr  uint64
	Path  string
	Flags uint32
	Pos   int64
	Inode Inode
}

// Files lists the open descriptors of a task, ascending. An error for one
// descriptor goes to failed, and the others are still given.
func (v *View) Files(t *Task, visit func(File), failed func(error)) error {
	if t.Files == 0 {
		return nil // kernel threads keep one, exited tasks have none
	}
	fdt := v.K.At(t.Files, "files_struct").Follow("fdt", "fdtable")
	n, table, open := fdt.Uint("max_fds"), fdt.Ptr("fd"), fdt.Ptr("open_fds")
	if fdt.Err() != nil {
		return fdt.Err()
	}
	if n > maxFDs {
		return fmt.Errorf("fdtable at %#x: max_fds %d is not plausible", fdt.Addr, n)
	}
	bitmap := make([]byte, (n+63)/64*8)
	if _, err := v.K.Space.Read(open, bitmap); err != nil {
		return fmt.Errorf("fdtable at %#x: open_fds: %w", fdt.Addr, err)
	}
	for w := 0; w < len(bitmap); w += 8 {
		for b := binary.LittleEndian.Uint64(bitmap[w:]); b != 0; b &= b - 1 {
			fd := w*8 + bits.TrailingZeros64(b)
			if err := v.step(); err != nil {
				return err
			}
			f, err := v.fileAt(table+8*uint64(fd), fd)
			switch {
			case err != nil:
				failed(fmt.Errorf("descriptor %d: %w", fd, err))
			case f.Addr != 0: // 0: the number is reserved, the file not installed yet
				visit(f)
			}
		}
	}
	return nil
}

func (v *View) fileAt(slot uint64, fd int) (File, error) {
	addr, err := v.K.Space.U64(slot)
	if err != nil || addr == 0 {
		return File{}, err
	}
	f, err := v.File(addr)
	f.FD = fd
	return f, err
}

// File reads the open file description at addr.
func (v *View) File(addr uint64) (File, error) {
	if err := v.charge(costFile); err != nil {
		return File{}, err
	}
	o := v.K.At(addr, "file")
	f := File{Addr: addr, Flags: uint32(o.Uint("f_flags")), Pos: o.Int("f_pos")}
	inode := o.Ptr("f_inode")
	path, err := v.pathIn(o, "f_path")
	if err != nil {
		return f, err
	}
	f.Path = path
	f.Inode, err = v.Inode(inode)
	return f, err
}

// FSPaths are a task's working directory and root.
func (v *View) FSPaths(t *Task) (cwd, root string, err error) {
	if t.FS == 0 {
		return "", "", nil
	}
	o := v.K.At(t.FS, "fs_struct")
	if cwd, err = v.pathIn(o, "pwd"); err != nil {
		return "", "", err
	}
	root, err = v.pathIn(o, "root")
	return cwd, root, err
}
