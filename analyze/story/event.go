package story

import (
	"fmt"
	"path"
	"sort"
	"strings"

	"github.com/xentape/xentape/analyze/process"
)

// event is what rules look at: the fields of one process, file change or
// connection after the join. Field names are Sigma's taxonomy for Linux where it
// has one (Image, CommandLine, TargetFilename, DestinationIp, …), and xentape's
// own, in lower case, for what no agent inside a guest could have told.
type event struct {
	fields map[string][]any
}

func (e *event) Field(name string) ([]any, bool) { v, ok := e.fields[name]; return v, ok }

func (e *event) Text() []string {
	var all []string
	for _, name := range e.names() {
		for _, v := range e.fields[name] {
			if s, ok := v.(string); ok {
				all = append(all, s)
			}
		}
	}
	return all
}

func (e *event) names() []string {
	var ns []string
	for n := range e.fields {
		ns = append(ns, n)
	}
	sort.Strings(ns)
	return ns
}

// set adds a value; empty strings are "no such field", as in Sigma's logs.
func (e *event) set(name string, v any) {
	if s, ok := v.(string); ok && s == "" {
		return
	}
	e.fields[name] = append(e.fields[name], v)
}

func newEvent() *event { return &event{fields: map[string][]any{}} }

// processEvent flattens a process. parent may be nil.
func (j *joiner) processEvent(p *process.Process, parent *process.Process) *event {
	e := newEvent()
	e.set("Image", p.Exe)
	e.set("CommandLine", strings.Join(p.Args, " "))
	e.set("CurrentDirectory", p.Cwd)
	e.set("ProcessId", int64(p.PID))
	e.set("ParentProcessId", int64(p.PPID))
	e.set("uid", int64(p.UID))
	e.set("comm", p.Comm)
	e.set("grade", string(p.Grade))
	e.set("container", p.Container)
	e.set("kernel_thread", p.KernelThread)
	for _, v := range p.Env {
		e.set("env", v)
	}
	if parent != nil {
		e.set("ParentImage", parent.Exe)
		e.set("ParentCommandLine", strings.Join(parent.Args, " "))
		e.set("parent_comm", parent.Comm)
	}
	if p.ExeFile != nil {
		e.set("exe_deleted", p.ExeFile.Deleted)
		e.set("exe_fs", p.ExeFile.FileSystem)
		e.set("exe_memfd", strings.HasPrefix(p.Exe, "/memfd:") || strings.HasPrefix(p.Exe, "memfd:"))
	}
	e.set("imitates_kernel_thread", imitatesKernelThread(p))
	e.set("shell", shells[path.Base(strings.TrimSuffix(p.Exe, " (deleted)"))] || shells[p.Comm])
	for _, m := range p.Maps {
		if m.Exec {
			e.set("anonymous_executable_memory", true)
			break
		}
	}
	for _, s := range p.Sockets {
		if (s.Family == "inet" || s.Family == "inet6") && s.FD <= 2 && s.RemotePort != 0 {
			e.set("stdio_socket", true)
			e.set("stdio_peer", s.Remote)
		}
		if s.Type == "raw" || s.Family == "packet" {
			e.set("raw_socket", true)
		}
	}
	for _, c := range j.connsOf[identify(p)] {
		e.set("peer", c.RespH.String())
		e.set("service", c.Service)
	}
	for _, f := range j.ranFrom[identify(p)] {
		e.set("exe_written_during_recording", true)
		e.set("exe_sha256", f.SHA256New)
	}
	if r := j.programs[identify(p)]; r != nil {
		e.set("exe_sha256", r.SHA256)
	}
	j.programFields(e, p)
	return e
}

// programFields tell where what a process runs came from.
func (j *joiner) programFields(e *event, p *process.Process) {
	for i, c := range j.fetched[identify(p)] {
		if i == 0 {
			e.set("exe_downloaded", c.whole())
			e.set("exe_downloaded_in_part", mostly(&c))
		}
		e.set("exe_url", c.t.URL)
	}
	if r := j.started[identify(p)]; r != nil {
		c := j.in.Conns[r.conn]
		e.set("started_for", c.UID)
		e.set("started_for_ip", c.OrigH.String())
		e.set("started_for_service", c.Service)
	}
	e.set("outlived_request", j.outlived(p))
}

// mostly: half of the blocks or more, but not the whole.
func mostly(c *carried) bool { return !c.whole() && 2*c.blocks >= c.of }

// imitatesKernelThread: a process that shows itself in brackets, as ps shows
// kernel threads, or has a kernel thread's name, but runs a program.
func imitatesKernelThread(p *process.Process) bool {
	if p.KernelThread || (p.Exe == "" && len(p.Args) == 0) {
		return false
	}
	arg0 := ""
	if len(p.Args) > 0 {
		arg0 = p.Args[0]
	}
	for _, s := range []string{arg0, p.Comm} {
		if strings.HasPrefix(s, "[") && strings.Contains(s, "]") {
			return true
		}
		for _, k := range kernelThreadNames {
			if strings.HasPrefix(s, k) {
				return true
			}
		}
	}
	return false
}

// kernelThreadNames begin the names of threads that every Linux kernel has.
var kernelThreadNames = []string{"kworker/", "ksoftirqd/", "migration/", "rcu_", "kthreadd", "kswapd", "kcompactd", "watchdog/", "cpuhp/", "jbd2/", "scsi_eh_"}

var shells = map[string]bool{"sh": true, "bash": true, "dash": true, "zsh": true, "ksh": true, "ash": true, "busybox": true, "fish": true}

// fileEvent flattens a change on a disk.
func (j *joiner) fileEvent(i int) *event {
	f := &j.in.Files[i]
	e := newEvent()
	e.set("TargetFilename", f.Path)
	e.set("SourceFilename", f.OldPath)
	e.set("op", f.Op)
	e.set("type", f.Type)
	e.set("uid", int64(f.UID))
	e.set("gid", int64(f.GID))
	e.set("size", int64(f.Size))
	e.set("setuid", f.Mode&0o4000 != 0)
	e.set("setgid", f.Mode&0o2000 != 0)
	e.set("executable", f.Mode&0o111 != 0)
	e.set("sha256", f.SHA256New)
	for _, a := range f.Added {
		e.set("added", a)
	}
	for _, x := range f.Removed {
		e.set("removed", x)
	}
	e.set("rewritten_in_place", f.Op == "write" && f.SHA256Old != "" && f.SizeOld == nil && !f.Shown)
	e.set("shortened", f.SizeOld != nil && f.Size < *f.SizeOld)
	e.set("sha256_old", f.SHA256Old)
	if f.Op == "delete" || f.Op == "truncate" {
		e.set("rotated_beside", j.rotated[changeKey(f.Disk, f.Path, records(f.First, f.Last))])
	}
	if o := j.writers[i]; o != nil {
		e.set("Image", o.Exe)
		e.set("comm", o.Comm)
		e.set("ProcessId", int64(o.PID))
	}
	for k, c := range j.cameFrom[i] {
		if k == 0 {
			e.set("downloaded", c.whole())
			e.set("downloaded_in_part", mostly(&c))
		}
		e.set("url", c.t.URL)
	}
	for _, c := range j.wentOut[i] {
		e.set("sent_to", c.t.UID)
	}
	return e
}

// connEvent flattens a connection.
func (j *joiner) connEvent(i int) *event {
	c := j.in.Conns[i]
	e := newEvent()
	e.set("SourceIp", c.OrigH.String())
	e.set("SourcePort", int64(c.OrigP))
	e.set("DestinationIp", c.RespH.String())
	e.set("DestinationPort", int64(c.RespP))
	e.set("Protocol", c.Proto)
	e.set("service", c.Service)
	e.set("conn_state", c.ConnState)
	e.set("history", c.History)
	e.set("community_id", c.CommunityID)
	if c.OrigBytes != nil {
		e.set("orig_bytes", int64(*c.OrigBytes))
		e.set("resp_bytes", int64(*c.RespBytes))
	}
	e.set("Initiated", j.began(i) == FromGuest)
	e.set("socket_missing", j.missing[i] != nil)
	for _, k := range j.sent[i] {
		e.set("sent_file", j.in.Files[k].Path)
	}
	for _, n := range j.in.Names[c.UID] {
		e.set("DestinationHostname", n)
	}
	if o := j.owners[i]; o != nil {
		e.set("Image", o.Exe)
		e.set("comm", o.Comm)
		e.set("ProcessId", int64(o.PID))
		e.set("owner_grade", string(o.Grade))
	} else {
		e.set("owner_grade", string(Unknown))
	}
	return e
}

// rotations are the changes of logs that the file analyzer found to be log rotation: what
// is gone is held by a copy, or was the oldest. It knows them by what they hold.
func rotations(in *Input) map[string]bool {
	out := map[string]bool{}
	for i := range in.Oddities {
		if o := &in.Oddities[i]; o.Rule == "log-rotation" && len(o.Evidence) == 1 {
			out[changeKey(o.Evidence[0].Stream, o.Path, o.Evidence[0].Records)] = true
		}
	}
	return out
}

// changeKey tells changes of a file apart, by the records that show them.
func changeKey(disk, path string, records []uint64) string {
	return fmt.Sprint(disk, path, "\x00", records)
}
