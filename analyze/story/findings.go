package story

import (
	"fmt"
	"slices"
	"strings"

	"github.com/xentape/xentape/analyze/internal/sigma"
)

func finding(r *sigma.Rule, what string, ev []Evidence) Item {
	return Item{rank: rankFinding, Kind: KindFinding, Severity: severity(r.Level), Rule: r.ID, Tags: r.Tags,
		Summary: r.Title + ": " + what, Why: sentence(r.Description), Evidence: slices.Clip(ev)}
}

func severity(level string) string {
	if level == "informational" {
		return "info"
	}
	return level
}

// ruled are the findings of the file analyzer that rules draw again, with the
// process and the connection beside the file. Where a rule did, they are left out.
var ruled = map[string]bool{"persistence": true, "setuid": true, "account-change": true, "log-tampering": true}

// odd draws the findings that analyzers, and the join, made by themselves. A rule
// of category analyzer_finding gives each its title and severity.
func (j *joiner) odd(s *Story, rules []*sigma.Rule) {
	for i := range j.oddities {
		o := &j.oddities[i]
		if o.File >= 0 && ruled[o.Rule] && j.told[j.in.Files[o.File].file()] {
			continue
		}
		base := j.oddItem(o)
		e := j.oddEvent(o)
		said := false
		for _, r := range rules {
			if r.Category != "analyzer_finding" || !r.Match(e) {
				continue
			}
			it := base
			it.Rule, it.Severity, it.Tags, it.Summary = r.ID, severity(r.Level), r.Tags, r.Title+": "+o.Summary
			it.Why = sentence(r.Description)
			if o.Why != "" {
				it.Why += " Here: " + o.Why + "."
			}
			s.add(it)
			said = true
		}
		if !said {
			s.add(base)
		}
	}
}

func (j *joiner) oddItem(o *Oddity) Item {
	it := Item{key: fmt.Sprint(o.PID, o.Start, o.Task, o.Summary, o.Detail), at: o.At, rank: rankFinding, Kind: KindFinding, Severity: o.Severity, Rule: o.Rule, Summary: o.Summary, Why: o.Why, Evidence: o.Evidence}
	if o.PID != 0 {
		it.proc = identity{o.PID, o.Start, o.Task}
		if p := j.procs[it.proc]; p != nil {
			it.Process = newOwner(p, Exact)
		}
	}
	if o.File >= 0 && o.File < len(j.in.Files) {
		f := &j.in.Files[o.File]
		it.File = &FileRef{Op: f.Op, Path: f.Path, OldPath: f.OldPath, Disk: f.Disk, Inode: f.Inode, SHA256: f.SHA256New}
		it.files = []int{o.File}
		if w := j.writers[o.File]; w != nil && it.Process == nil {
			it.Process, it.proc = w, w.key
		}
	}
	return it
}

// oddEvent flattens a finding of an analyzer.
func (j *joiner) oddEvent(o *Oddity) *event {
	e := newEvent()
	e.set("finding", o.Rule)
	e.set("severity", o.Severity)
	e.set("TargetFilename", o.Path)
	if o.PID != 0 {
		e.set("ProcessId", int64(o.PID))
		if p := j.procs[identity{o.PID, o.Start, o.Task}]; p != nil {
			e.set("Image", p.Exe)
			e.set("comm", p.Comm)
		}
	}
	for k, v := range o.Fields {
		e.set(k, v)
	}
	return e
}

// sentence makes one line of a rule's description.
func sentence(s string) string { return strings.Join(strings.Fields(s), " ") }
