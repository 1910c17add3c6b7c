package objects

import "fmt"

// Mount is one mount of a namespace, as /proc/PID/mountinfo shows it.
type Mount struct {
	ID, Parent   int
	Major, Minor uint32
	Path         string // where, from the namespace's root
	Source       string // device or name given to mount
	FileSystem   string
	Flags        uint64 // MNT_* of the mount
	ReadOnly     bool   // of the mount or of the whole file system
}

// Mounts lists the mounts of the mnt_namespace at addr: from its list, or from
// the tree that replaced it in 6.8.
func (v *View) Mounts(addr uint64, visit func(Mount)) error {
	ns := v.K.At(addr, "mnt_namespace")
	var bad error
	give := func(at uint64) {
		m, err := v.mount(at)
		if err != nil && bad == nil {
			bad = err
		}
		if err == nil {
			visit(m)
		}
	}
	var err error
	if ns.Has("list") {
		off := ns.Cast(0, "mount").Offset("mnt_list")
		head := ns.Member("list")
		if ns.Err() != nil {
			return ns.Err()
		}
		err = v.ring(head, func(n uint64) bool { give(n - off); return true })
	} else {
		off := ns.Cast(0, "mount").Offset("mnt_node")
		first := ns.Ptr("mounts.rb_node")
		if ns.Err() != nil {
			return ns.Err()
		}
		err = v.redBlack(ns, first, func(n uint64) error { give(n - off); return nil })
	}
	if err == nil {
		err = bad
	}
	return err
}

func (v *View) mount(addr uint64) (Mount, error) {
	const readOnly = 1 // SB_RDONLY; MNT_READONLY is 0x40
	o := v.K.At(addr, "mount")
	sb := o.Ptr("mnt.mnt_sb")
	m := Mount{
		ID: int(o.Int("mnt_id")), Parent: int(o.Follow("mnt_parent", "mount").Int("mnt_id")),
		Source: o.TextAt("mnt_devname", 4096), Flags: o.Uint("mnt.mnt_flags"),
	}
	root, mnt := o.Ptr("mnt.mnt_root"), o.Member("mnt")
	ro := o.Cast(sb, "super_block").Uint("s_flags")&readOnly != 0
	if o.Err() != nil {
		return m, fmt.Errorf("mount at %#x: %w", addr, o.Err())
	}
	s, err := v.superBlock(sb)
	if err != nil {
		return m, err
	}
	m.Major, m.Minor, m.FileSystem, m.ReadOnly = s.Dev>>20, s.Dev&0xfffff, s.Type, ro || m.Flags&0x40 != 0
	m.Path, err = v.place(root, mnt) // what is mounted may be unlinked, as /proc/PID/mountinfo does not say
	return m, err
}
