package objects

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/xentape/xentape/analyze/internal/linux"
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
	Owner uint64 // struct pid of who gets its signals (F_SETOWN), 0 for most
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

// File reads the open file description at addr. What is mapped of an overlayfs
// is a file of the layer below it; the name and inode given are those the
// process opened, as /proc shows them.
func (v *View) File(addr uint64) (File, error) {
	if err := v.charge(costFile); err != nil {
		return File{}, err
	}
	o := v.K.At(addr, "file")
	f := File{Addr: addr, Flags: uint32(o.Uint("f_flags")), Pos: o.Int("f_pos")}
	d, m, inode := o.Ptr("f_path.dentry"), o.Ptr("f_path.mnt"), o.Ptr("f_inode")
	if o.Err() != nil {
		return f, o.Err()
	}
	f.Owner = v.fileOwner(o)
	if ud, um, ui, ok := v.userPath(addr, m); ok {
		d, m, inode = ud, um, ui
	}
	var err error
	if f.Path, err = v.Path(d, m); err != nil {
		return f, err
	}
	f.Inode, err = v.Inode(inode)
	return f, err
}

// fileOwner is who is signalled for a file: kept in it until 6.11, apart since.
func (v *View) fileOwner(o linux.Object) uint64 {
	if o.Has("f_owner.pid") {
		return o.Ptr("f_owner.pid")
	}
	if !o.Has("f_owner") {
		return 0
	}
	if at := o.Ptr("f_owner"); at != 0 {
		return o.Cast(at, "fown_struct").Ptr("pid")
	}
	return 0
}

// userPath is the name by which a process opened what overlayfs then opened
// below itself (struct backing_file, fs/file_table.c; its user_path since 6.8,
// before which f_path is the user's already). The bit of f_mode that marks such
// a file has moved between kernels, so it is known by where it is: on a mount in
// no namespace, and with a path behind it that fits together.
func (v *View) userPath(file, mnt uint64) (dentry, on, inode uint64, ok bool) {
	const internal = ^uint64(21) // MNT_NS_INTERNAL, ERR_PTR(-EINVAL)
	b := v.K.At(file, "backing_file")
	if !b.Has("user_path.dentry") {
		return 0, 0, 0, false
	}
	if m := b.Outer(mnt, "mount", "mnt"); m.Ptr("mnt_ns") != internal {
		return 0, 0, 0, false
	}
	dentry, on = b.Ptr("user_path.dentry"), b.Ptr("user_path.mnt")
	if !isKernel(dentry) || !isKernel(on) {
		return 0, 0, 0, false
	}
	d, vm := b.Cast(dentry, "dentry"), b.Cast(on, "vfsmount")
	inode = d.Ptr("d_inode")
	ok = d.Ptr("d_sb") == vm.Ptr("mnt_sb") && isKernel(inode) && b.Err() == nil
	return dentry, on, inode, ok
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
