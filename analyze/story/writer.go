package story

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/xentape/xentape/analyze/process"
)

// The access modes of an open file (include/uapi/asm-generic/fcntl.h).
const (
	accessMode = 3
	writeOnly  = 1
	readWrite  = 2
)

// use is one way a process had a file in one snapshot.
type use struct {
	snap *Snapshot
	proc *process.Process
	how  string
	path string // as the process has it; "" of a mapping without a name
	// writes: the process could change the file through this.
	writes bool
}

type fileKey struct {
	device string
	inode  uint64
}

// uses indexes which processes had which files.
type uses map[fileKey][]use

func indexFiles(snaps []Snapshot) uses {
	x := uses{}
	for i := range snaps {
		s := &snaps[i]
		for j := range s.Processes {
			x.add(s, &s.Processes[j])
		}
	}
	return x
}

func (x uses) add(s *Snapshot, p *process.Process) {
	put := func(id *process.FileID, path, how string, writes bool) {
		if id == nil || id.Inode == 0 || id.Device == "" {
			return
		}
		k := fileKey{id.Device, id.Inode}
		x[k] = append(x[k], use{s, p, how, strings.TrimSuffix(path, " (deleted)"), writes})
	}
	for i := range p.Files {
		f := &p.Files[i]
		m := f.Flags & accessMode
		if m == writeOnly || m == readWrite {
			put(&f.FileID, f.Path, fmt.Sprintf("has it open for writing, fd %d, at offset %d", f.FD, f.Pos), true)
		} else {
			put(&f.FileID, f.Path, fmt.Sprintf("has it open for reading, fd %d", f.FD), false)
		}
	}
	put(p.ExeFile, p.Exe, "runs it", false)
	for i := range p.Maps {
		m := &p.Maps[i]
		if m.FileID != nil && strings.HasPrefix(m.Perms, "rw") && strings.HasSuffix(m.Perms, "s") {
			put(m.FileID, m.Path, fmt.Sprintf("maps it shared and writable at %#x", uint64(m.Start)), true)
		}
	}
}

// on returns the uses of a file event's inode: on the volume it names, or, where
// the kernel's name of that is not known, on the whole disk or any partition.
func (x uses) on(e *FileEvent) []use {
	if e.Volume != "" && !strings.Contains(e.Volume, "/") {
		return x[fileKey{e.Volume, e.Inode}]
	}
	all := append([]use(nil), x[fileKey{e.Disk, e.Inode}]...)
	for n := 1; n <= 16; n++ {
		all = append(all, x[fileKey{fmt.Sprintf("%s%d", e.Disk, n), e.Inode}]...)
	}
	return all
}

// stored are the operations that go through an open file. Whoever has a file open
// need not be who renames or removes it.
var stored = map[string]bool{"create": true, "write": true, "truncate": true}

// names reports whether a path of a process may be that of the event's file. Inode
// numbers are used again, and a file system may be mounted anywhere: the last name
// of the path must be the same.
func (e *FileEvent) names(p string) bool {
	return path.Base(p) == path.Base(e.Path) || e.OldPath != "" && path.Base(p) == path.Base(e.OldPath)
}

// writer finds the process that made a change. exact: the one process that has
// the file open for writing in a snapshot inside the change's interval, or in
// those before and after it. Otherwise a process that had it open for writing in
// the snapshot nearest to the change is an inference, as is one of several.
func (x uses) writer(e *FileEvent) *Owner {
	if !stored[e.Op] {
		return nil
	}
	var before, after, inside []use
	for _, u := range x.on(e) {
		if !u.writes || !e.names(u.path) || u.snap.Realtime == 0 || e.Lower == 0 {
			continue
		}
		switch t := u.snap.Realtime; {
		case t >= e.Lower && t <= e.Upper:
			inside = append(inside, u)
		case t < e.Lower:
			if len(before) > 0 && before[0].snap != u.snap {
				before = nil
			}
			before = append(before, u)
		case len(after) == 0 || after[0].snap == u.snap:
			after = append(after, u)
		}
	}
	if len(inside) > 0 {
		return pick(inside, nil, Exact)
	}
	if both := shared(before, after); len(both) > 0 {
		return pick(both, after, Exact)
	}
	if len(after) > 0 && (len(before) == 0 || nearer(after[0].snap.Realtime, before[0].snap.Realtime, e.Lower)) {
		return pick(after, nil, Inferred)
	}
	if len(before) > 0 {
		return pick(before, nil, Inferred)
	}
	return nil
}

// shared are the uses of a that are also in b, by the same process.
func shared(a, b []use) []use {
	var out []use
	for _, u := range a {
		for _, v := range b {
			if identify(u.proc) == identify(v.proc) {
				out = append(out, u)
				break
			}
		}
	}
	return out
}

// pick names the youngest of the processes that fit: one that inherited a file
// from its parent is the one that uses it. Of several none is exact.
func pick(us, more []use, grade Grade) *Owner {
	slices.SortStableFunc(us, func(a, b use) int { return youngest(a.proc, b.proc) })
	o := newOwner(us[0].proc, grade)
	said := map[identity]bool{o.key: true}
	for i := range us {
		if id := identify(us[i].proc); !said[id] {
			said[id] = true
			o.Grade = Inferred
			o.SharedWith = append(o.SharedWith, us[i].proc.PID)
		}
	}
	for i, u := range slices.Concat(us, more) {
		if (i < len(us) || identify(u.proc) == o.key) && len(o.Evidence) < maxCarried {
			o.Evidence = append(o.Evidence, u.evidence())
		}
	}
	return o
}

func (u *use) evidence() Evidence {
	return Evidence{Stream: "memory", Records: []uint64{u.snap.First, u.snap.Last},
		Detail: fmt.Sprintf("snapshot #%d: pid %d (%s) %s", u.snap.Number, u.proc.PID, u.proc.Comm, u.how)}
}
