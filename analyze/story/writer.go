package story

import (
	"fmt"
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
	put := func(id *process.FileID, how string, writes bool) {
		if id == nil || id.Inode == 0 || id.Device == "" {
			return
		}
		k := fileKey{id.Device, id.Inode}
		x[k] = append(x[k], use{s, p, how, writes})
	}
	for i := range p.Files {
		f := &p.Files[i]
		m := f.Flags & accessMode
		if m == writeOnly || m == readWrite {
			put(&f.FileID, fmt.Sprintf("has it open for writing, fd %d, at offset %d", f.FD, f.Pos), true)
		} else {
			put(&f.FileID, fmt.Sprintf("has it open for reading, fd %d", f.FD), false)
		}
	}
	put(p.ExeFile, "runs it", false)
	for i := range p.Maps {
		m := &p.Maps[i]
		if m.FileID != nil && strings.HasPrefix(m.Perms, "rw") && strings.HasSuffix(m.Perms, "s") {
			put(m.FileID, fmt.Sprintf("maps it shared and writable at %#x", uint64(m.Start)), true)
		}
	}
}

// on returns the uses of an inode of a disk: of the whole device or one of its
// partitions, whose inode numbers cannot be told apart by the disk's name alone.
func (x uses) on(disk string, inode uint64) []use {
	all := append([]use(nil), x[fileKey{disk, inode}]...)
	for n := 1; n <= 16; n++ {
		all = append(all, x[fileKey{fmt.Sprintf("%s%d", disk, n), inode}]...)
	}
	return all
}

// writer finds the process that made a change. exact: a snapshot inside the
// change's interval shows the process with the file open for writing, or
// snapshots on both sides do. Otherwise a process that had it open for writing in
// the snapshot nearest to the change is an inference.
func (x uses) writer(e *FileEvent) *Owner {
	var before, after, inside *use
	all := x.on(e.Disk, e.Inode)
	for i := range all {
		u := &all[i]
		if !u.writes || u.snap.Realtime == 0 || e.Lower == 0 {
			continue
		}
		switch t := u.snap.Realtime; {
		case t >= e.Lower && t <= e.Upper:
			if inside == nil {
				inside = u
			}
		case t < e.Lower:
			before = u
		case after == nil:
			after = u
		}
	}
	switch {
	case inside != nil:
		return newOwner(inside.proc, Exact, inside.evidence())
	case before != nil && after != nil && identify(before.proc) == identify(after.proc):
		return newOwner(before.proc, Exact, before.evidence(), after.evidence())
	case after != nil && (before == nil || nearer(after.snap.Realtime, before.snap.Realtime, e.Lower)):
		return newOwner(after.proc, Inferred, after.evidence())
	case before != nil:
		return newOwner(before.proc, Inferred, before.evidence())
	}
	return nil
}

func (u *use) evidence() Evidence {
	return Evidence{Stream: "memory", Records: []uint64{u.snap.First, u.snap.Last},
		Detail: fmt.Sprintf("snapshot #%d: pid %d (%s) %s", u.snap.Number, u.proc.PID, u.proc.Comm, u.how)}
}
