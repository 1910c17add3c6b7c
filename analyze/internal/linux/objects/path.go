package objects

import (
	"errors"
	"fmt"
	"strings"

	"github.com/xentape/xentape/analyze/internal/linux"
)

// Limits of a path: PATH_MAX with room for mounts, NAME_MAX.
const (
	maxDepth = 1024
	maxName  = 255
)

type pathKey struct{ dentry, mnt uint64 }

// Path is the name of a place in the tree of mounts, as d_path gives it to a
// reader in the initial namespace: from the root of the namespace the mount is
// in, " (deleted)" after an unlinked name, and the made-up names of sockets,
// pipes and the like.
func (v *View) Path(dentry, mnt uint64) (string, error) {
	if dentry == 0 || mnt == 0 {
		return "", nil
	}
	if s, ok := v.paths[pathKey{dentry, mnt}]; ok {
		return s, nil
	}
	s, err := v.path(dentry, mnt)
	if err == nil {
		v.paths[pathKey{dentry, mnt}] = s
	}
	return s, err
}

// In reads a struct path embedded at a member.
func (v *View) pathIn(o linux.Object, member string) (string, error) {
	d, m := o.Ptr(member+".dentry"), o.Ptr(member+".mnt")
	if o.Err() != nil {
		return "", o.Err()
	}
	return v.Path(d, m)
}

func (v *View) path(dentry, mnt uint64) (string, error) {
	d := v.K.At(dentry, "dentry")
	m := d.Outer(mnt, "mount", "mnt")
	root := d.Ptr("d_parent") == dentry
	if root && m.Ptr("mnt.mnt_root") != dentry && d.Err() == nil {
		return v.dynamicName(d)
	}
	s, err := v.place(dentry, mnt)
	if deleted := !root && d.Ptr("d_hash.pprev") == 0; deleted {
		s += " (deleted)"
	}
	return s, errors.Join(err, d.Err())
}

// place is where in the tree of mounts a dentry is or was.
func (v *View) place(dentry, mnt uint64) (string, error) {
	d := v.K.At(dentry, "dentry")
	m := d.Outer(mnt, "mount", "mnt")
	var names []string
	for depth := 0; d.Err() == nil; depth++ {
		if depth > maxDepth {
			return "", fmt.Errorf("path of dentry %#x: more than %d components", dentry, maxDepth)
		}
		if err := v.step(); err != nil {
			return "", err
		}
		if up := d.Ptr("d_parent"); d.Addr == m.Ptr("mnt.mnt_root") || up == d.Addr {
			parent := m.Ptr("mnt_parent")
			if parent == m.Addr {
				break
			}
			d, m = d.Cast(m.Ptr("mnt_mountpoint"), "dentry"), m.Cast(parent, "mount")
			continue
		}
		names = append(names, d.TextAt("d_name.name", maxName+1))
		d.Addr = d.Ptr("d_parent")
	}
	if d.Err() != nil {
		return "", fmt.Errorf("path of dentry %#x: %w", dentry, d.Err())
	}
	var b strings.Builder
	for i := len(names) - 1; i >= 0; i-- {
		b.WriteByte('/')
		b.WriteString(names[i])
	}
	if len(names) == 0 {
		b.WriteByte('/')
	}
	return b.String(), nil
}

// dynamicName does what d_op->d_dname does for dentries that hang in no tree:
// fs/pipe.c, net/socket.c, fs/anon_inodes.c, fs/nsfs.c, fs/pidfs.c, and simple_dname for
// memfds and shared memory.
func (v *View) dynamicName(d linux.Object) (string, error) {
	ino := d.Follow("d_inode", "inode")
	sb, err := v.superBlock(d.Ptr("d_sb"))
	if err != nil {
		return "", err
	}
	name := d.TextAt("d_name.name", maxName+1)
	var s string
	switch sb.Type {
	case "sockfs":
		s = fmt.Sprintf("socket:[%d]", ino.Uint("i_ino"))
	case "pipefs":
		s = fmt.Sprintf("pipe:[%d]", ino.Uint("i_ino"))
	case "anon_inodefs":
		s = "anon_inode:" + name
	case "pidfs": // since 6.9; an anonymous inode before
		s = "anon_inode:[pidfd]"
	case "nsfs":
		s = fmt.Sprintf("%s:[%d]", nsKind(ino), ino.Uint("i_ino"))
	default:
		s = "/" + name + " (deleted)"
	}
	return s, d.Err()
}

// nsKind is the kind of namespace a file of nsfs stands for.
func nsKind(ino linux.Object) string {
	return ino.Cast(ino.Ptr("i_private"), "ns_common").Follow("ops", "proc_ns_operations").TextAt("name", 32)
}

type superBlock struct {
	Dev    uint32
	Type   string
	Device string
}

// superBlock reads a mounted file system's type and device.
func (v *View) superBlock(addr uint64) (superBlock, error) {
	if s, ok := v.fs[addr]; ok {
		return s, nil
	}
	o := v.K.At(addr, "super_block")
	s := superBlock{Dev: uint32(o.Uint("s_dev")), Type: o.Follow("s_type", "file_system_type").TextAt("name", 32), Device: o.Text("s_id")}
	if o.Err() != nil {
		return s, fmt.Errorf("super_block at %#x: %w", addr, o.Err())
	}
	v.fs[addr] = s
	return s, nil
}

// Inode is what names a file within the guest.
type Inode struct {
	Addr         uint64
	Major, Minor uint32
	Number       uint64
	FileSystem   string
	Device       string // super_block.s_id: the block device's name, or the type's
	Size         int64
	Links        uint32
	Mode         uint32
}

// Inode reads an inode.
func (v *View) Inode(addr uint64) (Inode, error) {
	o := v.K.At(addr, "inode")
	i := Inode{
		Addr: addr, Number: o.Uint("i_ino"), Size: o.Int("i_size"),
		Links: uint32(o.Uint("i_nlink")), Mode: uint32(o.Uint("i_mode")),
	}
	sb := o.Ptr("i_sb")
	if o.Err() != nil {
		return i, fmt.Errorf("inode at %#x: %w", addr, o.Err())
	}
	s, err := v.superBlock(sb)
	// dev_t keeps 20 bits of minor number (include/linux/kdev_t.h).
	i.Major, i.Minor, i.FileSystem, i.Device = s.Dev>>20, s.Dev&0xfffff, s.Type, s.Device
	return i, err
}
