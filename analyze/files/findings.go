package files

import (
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Finding is something an examiner would want to see first.
type Finding struct {
	Kind     string   `json:"kind"`
	Severity string   `json:"severity"` // "high", "medium", "low"
	Disk     string   `json:"disk"`
	Volume   string   `json:"volume,omitempty"`
	Path     string   `json:"path,omitempty"`
	Inode    uint64   `json:"inode,omitempty"`
	Time     Time     `json:"time"`
	Reasons  []string `json:"reasons"`
	Records  []uint64 `json:"records"` // sequence numbers of the evidence
}

// finder watches the events go by.
type finder struct {
	a    *Analyzer
	list []Finding
}

func newFinder(a *Analyzer) *finder { return &finder{a: a} }

func (f *finder) see(*Event) {}

func (f *finder) finish() {}

func (f *finder) tamper(v *volumeState, p Problem, at fs.Stamp) {
	f.list = append(f.list, Finding{Kind: "tamper-below-filesystem", Severity: "high", Disk: f.a.o.Disk, Volume: v.def.Name,
		Path: p.Path, Inode: p.Inode, Time: f.a.clock.wall(at.Time), Reasons: []string{p.Text}, Records: []uint64{at.Seq}})
}

// transient: a directory was modified and holds what it held before: names came
// and went between two commits.
func (f *finder) transient(v *volumeState, change *fs.InodeChange, tx *fs.Tx) {
	path := v.names.path(change.ID)
	f.list = append(f.list, Finding{Kind: "transient-entries", Severity: "low", Disk: f.a.o.Disk, Volume: v.def.Name,
		Path: path, Inode: change.ID.Num, Time: Time(change.New.MTime), Records: []uint64{tx.First.Seq, tx.Last.Seq},
		Reasons: []string{fmt.Sprintf("%s was modified but lists the same names: files were made and removed between two commits and never reached the disk", path)}})
}

// Findings lists what has been found so far, in the order of its evidence.
func (a *Analyzer) Findings() []Finding { return append([]Finding(nil), a.findings.list...) }
