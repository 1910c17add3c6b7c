package objects

import (
	"fmt"
	"strings"

	"github.com/xentape/xentape/analyze/internal/linux"
)

// Namespace is the inode number /proc/PID/ns shows for one.
type Namespace = uint64

// Namespaces are those a task is in, besides its pid and user namespace.
type Namespaces struct {
	Net, Mount, UTS, IPC, Cgroup, Time Namespace
	Host                               string // nodename of the UTS namespace
	MountAddr                          uint64 // of the mnt_namespace
}

// Namespaces reads a task's namespaces; all are zero once it has exited.
func (v *View) Namespaces(t *Task) (Namespaces, error) {
	var n Namespaces
	if t.NSProxy == 0 {
		return n, nil
	}
	o := v.K.At(t.NSProxy, "nsproxy")
	in := func(member, typ string) Namespace {
		if !o.Has(member) {
			return 0 // not built in
		}
		p := o.Ptr(member)
		if p == 0 || o.Err() != nil {
			return 0
		}
		return o.Cast(p, typ).Uint("ns.inum")
	}
	n.Net, n.Mount = in("net_ns", "net"), in("mnt_ns", "mnt_namespace")
	n.UTS, n.IPC, n.Cgroup = in("uts_ns", "uts_namespace"), in("ipc_ns", "ipc_namespace"), in("cgroup_ns", "cgroup_namespace")
	n.Time = in("time_ns", "time_namespace") // since 5.6
	n.MountAddr = o.Ptr("mnt_ns")
	if p := o.Ptr("uts_ns"); p != 0 {
		n.Host = o.Cast(p, "uts_namespace").Text("name.nodename")
	}
	if o.Err() != nil {
		return n, fmt.Errorf("nsproxy at %#x: %w", t.NSProxy, o.Err())
	}
	return n, nil
}

// Cgroup is a task's path in the unified hierarchy, or, where it is at the root
// of that, the longest path it has in a version 1 hierarchy, those without a
// controller (name=systemd) included.
func (v *View) Cgroup(t *Task) (string, error) {
	o := v.K.At(t.Addr, "task_struct")
	if !o.Has("cgroups") {
		return "", nil // kernel without cgroups
	}
	set := o.Ptr("cgroups")
	if o.Err() != nil || set == 0 {
		return "", o.Err()
	}
	if s, ok := v.cgrps[set]; ok {
		return s, nil
	}
	css := o.Cast(set, "css_set")
	path := v.cgroupPath(css.Follow("dfl_cgrp", "cgroup"))
	if head := css.Member("cgrp_links"); path == "/" && css.Err() == nil {
		off := css.Cast(0, "cgrp_cset_link").Offset("cgrp_link")
		err := v.ring(head, func(n uint64) bool {
			p := v.cgroupPath(css.Cast(n-off, "cgrp_cset_link").Follow("cgrp", "cgroup"))
			if len(p) > len(path) || (len(p) == len(path) && p < path) {
				path = p
			}
			return css.Err() == nil
		})
		if err != nil {
			css.Fail(err)
		}
	}
	if css.Err() != nil {
		return "", fmt.Errorf("css_set at %#x: %w", set, css.Err())
	}
	v.cgrps[set] = path
	return path, nil
}

func (v *View) cgroupPath(c linux.Object) string {
	kn := c.Follow("kn", "kernfs_node")
	parent := "parent"
	if !kn.Has(parent) {
		parent = "__parent" // 6.15 on
	}
	var names []string
	for depth := 0; kn.Addr != 0 && kn.Err() == nil && depth < maxDepth; depth++ {
		up := kn.Ptr(parent)
		if up == 0 {
			break
		}
		names = append(names, kn.TextAt("name", maxName+1))
		kn.Addr = up
	}
	var b strings.Builder
	for i := len(names) - 1; i >= 0; i-- {
		b.WriteByte('/')
		b.WriteString(names[i])
	}
	if len(names) == 0 {
		return "/"
	}
	return b.String()
}
