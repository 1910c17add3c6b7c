package files

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// causes are the system calls that may show as an event.
var causes = map[Op][]string{
	OpCreate: {"create", "rename", "link", "exchange"}, OpMkdir: {"mkdir", "rename"}, OpSymlink: {"symlink", "rename"},
	// A link followed by the removal of the old name is a rename to the disk.
	OpRename: {"rename", "link", "exchange"},
	OpLink:   {"link", "rename", "create", "exchange"}, // create: O_TMPFILE, linked later
	OpUnlink: {"unlink", "rename", "rmdir", "exchange"}, OpDelete: {"unlink", "rename"}, OpRmdir: {"rmdir", "rename"},
	OpWrite: {"create", "append", "pwrite"}, OpTruncate: {"truncate", "create", "pwrite", "append"},
	OpChmod: {"chmod", "create"}, OpChown: {"chown"}, OpUtime: {"utime"}, OpSetxattr: {"setxattr"},
}

// slack is for the clock tick and scheduling, ns.
const slack = int64(5e7)

// did is what a system call did to an object.
type did struct {
	kind string
	at   int64 // when the call began
}

// touch notes what a call did to the object of a path, and to its directory.
func (n *namespace) touch(p, kind string, at int64) *thing {
	x := n.known(p).object
	x.calls = append(x.calls, did{kind, at})
	return x
}

// note keeps what a call that is not of names does. One that failed may have done part.
func (n *namespace) note(o sysop) {
	switch {
	case o.Op == "setxattr" && o.Path == "":
		n.pathless = append(n.pathless, o.T0)
	case o.Path == "" || o.Err != nil && n.now[o.Path] == nil:
	case o.Op == "truncate" && o.Len != nil:
		// fallocate(2) that collapses or inserts a range: what was not written yet is,
		// and blocks that are partly of the range are written anew.
		n.touch(o.Path, "truncate", o.T0)
		n.touch(o.Path, "pwrite", o.T0)
	default:
		n.touch(o.Path, o.Op, o.T0)
	}
}

// born begins an object that a call made.
func (n *namespace) born(o sysop) *spell {
	dir := n.directory(o.Path, o.T0)
	s := n.begin(&thing{dir: o.Op == "mkdir", maybe: o.Err != nil}, o.Path, o)
	s.object.calls = append(s.object.calls, did{o.Op, o.T0})
	if dir != nil && slices.ContainsFunc(dir.calls, func(d did) bool { return d.kind == "setxattr" || d.kind == "inherit" }) {
		// What is made below a directory with a default ACL gets it, and a directory hands it
		// on, with its first
		// transaction or one of its own (posix_acl_create, fs/posix_acl.c).
		s.object.calls = append(s.object.calls, did{"inherit", o.T0})
	}
	return s
}

// directory is the directory of a path. One that no call made, as the workload's
// threads make theirs, was there when the first call in it began.
func (n *namespace) directory(p string, at int64) *thing {
	d := path.Dir(p)
	if d == "." {
		return nil
	}
	if n.now[d] == nil {
		n.directory(d, at)
		x := n.begin(&thing{dir: true}, d, sysop{})
		x.object.calls = append(x.object.calls, did{"mkdir", at})
	}
	return n.now[d].object
}

// explain reports whether a call of the right kind, begun before the interval ends,
// was made on the event's file: on an object that had its path when the event was seen.
func (n *namespace) explain(e *Event) bool {
	kinds := slices.Clone(causes[e.Op])
	switch {
	case e.Op == OpChmod && lostSuid(e):
		kinds = append(kinds, "chown", "append", "pwrite", "truncate") // file_remove_privs, fs/inode.c
	case e.Op == OpChmod:
		kinds = append(kinds, "setxattr") // of an ACL (posix_acl_update_mode, fs/posix_acl.c)
	case e.Op == OpSetxattr && onlyACL(e):
		kinds = append(kinds, "chmod", "inherit") // posix_acl_chmod
	}
	until := int64(e.TimeUpper) + slack
	if e.Op == OpSetxattr && e.Type == "dir" && slices.ContainsFunc(n.pathless, func(at int64) bool { return at <= until }) {
		return true
	}
	seen := max(until, int64(e.Observed)+slack)
	for _, p := range []string{e.Path, e.OldPath, n.hidden[e.Path]} {
		if file, ok := streamOf(e, p); ok { // which setxattr(2) makes, writes and removes, through ntfs-3g
			p, kinds = file, append(kinds, "setxattr")
		}
		if slices.ContainsFunc(n.objects(strings.TrimPrefix(logged(p), "/"), seen), func(x *thing) bool {
			return slices.ContainsFunc(x.calls, func(d did) bool { return d.at <= until && slices.Contains(kinds, d.kind) })
		}) {
			return true
		}
	}
	return false
}

// streamOf is the file whose named stream a path of NTFS is.
func streamOf(e *Event, p string) (file string, ok bool) {
	k := strings.LastIndexByte(p, ':')
	if e.Filesystem != "ntfs" || k <= strings.LastIndexByte(p, '/') {
		return p, false
	}
	return p[:k], true
}

// hidden is what libfuse calls a file that is removed while it is open (hidden_name,
// lib/fuse.c of libfuse 2.9): the disk has that name until the file is closed.
var hidden = regexp.MustCompile(`/\.fuse_hidden[0-9a-f]{16}(:|$)`)

// unhide has the renaming of an open file, which is libfuse's, be the removal that the
// caller asked for, and notes what the file was called.
func (n *namespace) unhide(events []Event) {
	n.hidden = map[string]string{}
	for i := range events {
		if e := &events[i]; e.Op == OpRename && path.Dir(e.Path) == path.Dir(e.OldPath) && hidden.MatchString(e.Path) {
			n.hidden[e.Path] = e.OldPath
			e.Op, e.Path, e.OldPath = OpUnlink, e.OldPath, ""
		}
	}
}

// objects are what the path named until then, and what had its last parts in a
// directory above under another path: the disk may hear of what was synced in a directory
// before it hears that the directory was renamed.
func (n *namespace) objects(p string, until int64) []*thing {
	var out []*thing
	add := func(p string) {
		for _, s := range n.at[p] {
			if s.from.T0 <= until {
				out = append(out, s.object)
			}
		}
	}
	add(p)
	if hidden.MatchString("/" + p) { // as it may have been from the start, to the disk
		for _, other := range slices.Sorted(maps.Keys(n.at)) {
			if k := slices.IndexFunc(n.at[other], func(s *spell) bool { return s.to.T1 != 0 && s.to.T0 <= until }); k >= 0 && path.Dir(other) == path.Dir(p) {
				out = append(out, n.at[other][k].object)
			}
		}
	}
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		for _, d := range n.at[dir] {
			for _, s := range d.object.spells {
				if s.path != dir {
					add(s.path + p[len(dir):])
				}
			}
		}
	}
	return out
}

// lostSuid: the only change is that the file no longer runs as its owner or group.
func lostSuid(e *Event) bool {
	return e.ModeOld.Bits&^e.Mode.Bits&^06000 == 0 && e.Mode.Bits&^e.ModeOld.Bits == 0
}

// onlyACL: nothing but access control lists changed.
func onlyACL(e *Event) bool {
	return !slices.ContainsFunc(e.Xattrs, func(x XattrChange) bool {
		return !strings.HasPrefix(x.Name, "system.posix_acl_") && !strings.HasPrefix(x.Name, "trusted.SGI_ACL_")
	})
}
