package process

import (
	"cmp"
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/xentape/xentape/analyze/internal/linux/objects"
)

func compareTasks(a, b *objects.Task) int {
	return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.Start, b.Start), cmp.Compare(a.Addr, b.Addr))
}

// process reads everything about one process. What cannot be read is named in
// Incomplete and left empty, never guessed.
func (l *lister) process(e *entry) *Process {
	t := &e.task
	p := &Process{
		PID: t.PID, PPID: t.PPID, Comm: t.Comm, StartTime: t.Start, State: t.State,
		KernelThread: t.KernelThread, TaskAddress: Address(t.Addr), Grade: Seen,
		Snapshot: l.s.number, ExitCode: t.ExitCode, Started: l.started(t.Start),
	}
	p.empty()
	p.evidence("task_struct", t.Addr, t.Phys)
	l.credentials(p, t)
	l.numbers(p, t)
	l.threads(p, t)
	t = l.living(p, t)
	l.surroundings(p, t)
	l.memory(p, t)
	l.files(p, t)
	p.hex()
	return p
}

// hex keeps the bytes of what JSON cannot hold: they are the guest's to choose,
// and two that differ must not read the same.
func (p *Process) hex() {
	for _, f := range []struct {
		name string
		all  []string
		end  string
	}{
		{"comm", []string{p.Comm}, ""}, {"args", p.Args, "\x00"}, {"env", p.Env, "\x00"},
		{"exe", []string{p.Exe}, ""}, {"cwd", []string{p.Cwd}, ""}, {"root", []string{p.Root}, ""},
	} {
		if !slices.ContainsFunc(f.all, func(s string) bool { return !utf8.ValidString(s) }) {
			continue
		}
		if p.Hex == nil {
			p.Hex = map[string]string{}
		}
		p.Hex[f.name] = hex.EncodeToString([]byte(strings.Join(f.all, f.end) + f.end))
	}
}

// empty makes the lists that are promised lists, so that they are written as
// such when there is nothing in them.
func (p *Process) empty() {
	p.Args, p.Env, p.NSPID, p.Views = []string{}, []string{}, []int{}, slices.Clip(p.Views)
	p.Sockets, p.Files, p.ThreadList, p.Evidence = []Socket{}, []File{}, []Thread{}, []Evidence{}
}

// living is the task to read the process's memory and files from: its leader,
// or another thread when the leader has exited alone.
func (l *lister) living(p *Process, t *objects.Task) *objects.Task {
	if t.MM != 0 || t.KernelThread {
		return t
	}
	for _, th := range p.ThreadList {
		if uint64(th.TaskAddress) == t.Addr {
			continue
		}
		if o, err := l.v.Task(uint64(th.TaskAddress)); err == nil && o.MM != 0 {
			p.HeldBy = o.PID
			return &o
		}
	}
	return t
}

func (p *Process) evidence(object string, va, pa uint64) {
	p.Evidence = append(p.Evidence, Evidence{object, Address(va), Address(pa)})
}

func (p *Process) incomplete(what string, err error) {
	if err != nil && len(p.Incomplete) < maxProblems {
		p.Incomplete = append(p.Incomplete, what+": "+err.Error())
	}
}

func (l *lister) credentials(p *Process, t *objects.Task) {
	c, err := l.v.Credentials(t)
	if err != nil {
		p.incomplete("credentials", err)
		return
	}
	p.UID, p.GID = c.UID, c.GID
	p.Credentials = &Credentials{
		UID: [4]uint32{c.UID, c.EUID, c.SUID, c.FSUID}, GID: [4]uint32{c.GID, c.EGID, c.SGID, c.FSGID},
		Effective: Address(c.Effective), Permitted: Address(c.Permitted), Inheritable: Address(c.Inheritable),
		Bounding: Address(c.Bounding), Ambient: Address(c.Ambient), UserNS: c.UserNS,
		Groups: append([]uint32{}, c.Groups...),
	}
	p.evidence("cred", t.Cred, l.v.Locate(t.Cred))
}

func (l *lister) threads(p *Process, t *objects.Task) {
	n, err := l.v.ThreadCount(t)
	p.incomplete("thread count", err)
	p.Threads = n
	err = l.v.Threads(t, func(a uint64) {
		th, err := l.v.Task(a)
		if err != nil {
			p.incomplete("thread", err)
			p.torn = true
			return
		}
		if a == t.Addr {
			th.PID = p.PID
		}
		p.ThreadList = append(p.ThreadList, Thread{TID: th.PID, Comm: th.Comm, State: th.State, StartTime: th.Start, TaskAddress: Address(a)})
	})
	p.torn = p.torn || err != nil
	p.incomplete("threads", err)
	slices.SortFunc(p.ThreadList, func(a, b Thread) int { return cmp.Compare(a.TID, b.TID) })
}

// numbers reads what each pid namespace calls the process. The first of them is
// what /proc and kill go by, whatever the task structure says.
func (l *lister) numbers(p *Process, t *objects.Task) {
	nrs, err := l.v.Numbers(t)
	p.incomplete("pid namespaces", err)
	for _, n := range nrs {
		p.NSPID = append(p.NSPID, n.NR)
		p.Namespaces.PID = n.NS
	}
	if len(p.NSPID) > 0 {
		p.PID = p.NSPID[0]
	}
}

func (l *lister) surroundings(p *Process, t *objects.Task) {
	n, err := l.v.Namespaces(t)
	p.incomplete("namespaces", err)
	p.Namespaces.Net, p.Namespaces.Mount, p.Namespaces.UTS = n.Net, n.Mount, n.UTS
	p.Namespaces.IPC, p.Namespaces.Cgroup, p.Namespaces.Time, p.Namespaces.Host = n.IPC, n.Cgroup, n.Time, n.Host
	p.Cgroup, err = l.v.Cgroup(t)
	p.incomplete("cgroup", err)
	p.Container = container(p.Cgroup, p.NSPID, p.Namespaces.PID)
	p.Cwd, p.Root, err = l.v.FSPaths(t)
	p.incomplete("working directory", err)
}

func (l *lister) memory(p *Process, t *objects.Task) {
	if t.MM == 0 {
		return // kernel thread, or exited
	}
	m, err := l.v.Memory(t)
	if err != nil {
		p.incomplete("memory", err)
		return
	}
	p.evidence("mm_struct", m.Addr, l.v.Locate(m.Addr))
	args, err := m.Args()
	p.Args = append(p.Args, args...)
	p.incomplete("args", err)
	env, err := m.Env()
	p.Env = append(p.Env, env...)
	p.incomplete("env", err)
	exe, ok, err := l.v.ExePath(m)
	p.incomplete("exe", err)
	if ok {
		p.Exe = exe.Path
		p.ExeFile = fileID(exe)
	}
	err = l.v.Regions(m, func(r objects.Region) {
		x, err := l.region(m, r)
		p.incomplete("map", err)
		p.Maps = append(p.Maps, x)
	})
	p.incomplete("maps", err)
}

func (l *lister) region(m *objects.Memory, r objects.Region) (Map, error) {
	x := Map{Start: Address(r.Start), End: Address(r.End), Offset: r.Offset}
	perms := []byte("---p")
	for i, bit := range []uint64{objects.RegionRead, objects.RegionWrite, objects.RegionExec} {
		if r.Flags&bit != 0 {
			perms[i] = "rwx"[i]
		}
	}
	if r.Flags&objects.RegionShared != 0 {
		perms[3] = 's'
	}
	x.Perms = string(perms)
	if r.File != 0 {
		f, err := l.file(r.File)
		if f != nil {
			x.Path, x.FileID = f.path, f.id
		}
		return x, err
	}
	x.Exec = r.Flags&objects.RegionExec != 0
	switch {
	case r.Special && r.SpecialName != "":
		x.Path, x.Exec = r.SpecialName, false
	case r.Start == m.VDSO && m.VDSO != 0:
		x.Path, x.Exec = "[vdso]", false
	case r.Start <= m.Brk && r.End >= m.BrkStart && m.Brk != m.BrkStart:
		x.Path = "[heap]"
	case r.Start <= m.StackStart && r.End >= m.StackStart:
		x.Path = "[stack]"
	case r.Name != "":
		x.Path = "[anon:" + r.Name + "]"
	}
	return x, nil
}

// mapped is a file behind regions.
type mapped struct {
	path string
	id   *FileID
}

// file reads an open file description; many regions share one.
func (l *lister) file(addr uint64) (*mapped, error) {
	if f := l.open[addr]; f != nil {
		return f, nil
	}
	f, err := l.v.File(addr)
	if err != nil {
		return nil, err
	}
	l.open[addr] = &mapped{f.Path, fileID(f)}
	return l.open[addr], nil
}

func (l *lister) files(p *Process, t *objects.Task) {
	if t.Files != 0 {
		p.evidence("files_struct", t.Files, l.v.Locate(t.Files))
	}
	err := l.v.Files(t, func(f objects.File) {
		x := File{FD: f.FD, Path: f.Path, Flags: f.Flags, Pos: f.Pos, FileID: *fileID(f)}
		p.Files = append(p.Files, x)
		l.owner(f.Owner, FileOwner)
		if f.Inode.FileSystem == "sockfs" {
			s, ok, err := l.v.Socket(&f)
			p.incomplete("socket", err)
			l.owner(s.PeerPID, PeerCred)
			if ok {
				p.Sockets = append(p.Sockets, socket(f.FD, &s))
			}
		}
	}, func(err error) { p.incomplete("files", err) })
	p.incomplete("files", err)
}

func fileID(f objects.File) *FileID {
	i := &f.Inode
	return &FileID{
		Major: i.Major, Minor: i.Minor, Inode: i.Number, FileSystem: i.FileSystem, Device: i.Device,
		Deleted: strings.HasSuffix(f.Path, " (deleted)"), Size: i.Size, Links: i.Links, Mode: i.Mode, Address: Address(i.Addr),
	}
}

func socket(fd int, s *objects.Socket) Socket {
	x := Socket{
		FD: fd, Family: s.FamilyName(), Type: s.TypeName(), Proto: s.ProtoName(), State: s.StateName(),
		Path: s.Path, Peer: s.PeerInode, Inode: s.Inode, NetNS: s.NetNS, Interface: s.Interface, ProtoNumber: s.Protocol, PortID: s.PortID, Address: Address(s.Addr),
	}
	if s.Local.IsValid() {
		x.Local, x.LocalPort = s.Local.Addr().String(), s.Local.Port()
		x.Remote, x.RemotePort = s.Remote.Addr().String(), s.Remote.Port()
	}
	return x
}
