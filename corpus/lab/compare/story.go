package main

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/xentape/xentape/corpus/lab/truth"
)

// storyItem is what the comparison needs of a line of xentape story.
type storyItem struct {
	Kind     string
	Summary  string
	Rule     string // of a finding
	Severity string
	Process  *struct {
		PID  int
		Comm string
	}
	File *struct {
		Op   string
		Path string
	}
	Conn *struct {
		OrigH netip.Addr `json:"id.orig_h"`
		OrigP uint16     `json:"id.orig_p"`
		RespH netip.Addr `json:"id.resp_h"`
		RespP uint16     `json:"id.resp_p"`
	}
}

// compareStory asks of the story what a reader would: does it name the
// intruder's process with its connection, and every file the intruder touched?
func compareStory(t *record, items []storyItem) *report {
	r := &report{name: "the story"}
	talks, err := t.talks()
	if err != nil {
		r.differ("%v", err)
		return r
	}
	for _, k := range talks {
		if k.Service != "shell" {
			continue
		}
		holders := t.holders(k)
		if len(holders) == 0 {
			r.explain("the reverse shell %s to %s was open at no point: nobody knows whose it was", k.guest, k.peer)
			continue
		}
		named := slices.ContainsFunc(items, func(it storyItem) bool {
			return it.Conn != nil && it.Process != nil && slices.Contains(holders, it.Process.PID) &&
				netip.AddrPortFrom(it.Conn.OrigH, it.Conn.OrigP) == k.guest && netip.AddrPortFrom(it.Conn.RespH, it.Conn.RespP) == k.peer
		})
		r.tally(named, "the reverse shell %s to %s with one of its processes %v", k.guest, k.peer, holders)
		for _, pid := range holders {
			named := slices.ContainsFunc(items, func(it storyItem) bool { return it.Process != nil && it.Process.PID == pid })
			r.tally(named, "process %d (%s), which held the reverse shell", pid, t.comm(pid))
		}
	}
	for _, s := range t.steps() {
		if !t.between(s.to) {
			continue
		}
		named := slices.ContainsFunc(items, func(it storyItem) bool { return it.File != nil && it.File.Path == s.path })
		if !named && t.neverCommitted(s) {
			r.explain("does not name the file %s (%s), which was made and removed between two commits of the file system", s.path, s.op)
			continue
		}
		r.tally(named, "the file %s (%s)", s.path, s.op)
	}
	return r
}

func (r *report) tally(ok bool, format string, a ...any) {
	if ok {
		r.matched++
		return
	}
	r.differ("does not name %s", fmt.Sprintf(format, a...))
}

func (t *record) comm(pid int) string {
	for _, point := range t.points {
		if i := slices.IndexFunc(t.processes[point.Name], func(p truth.Process) bool { return p.PID == pid }); i >= 0 {
			return t.processes[point.Name][i].Comm
		}
	}
	return "?"
}
