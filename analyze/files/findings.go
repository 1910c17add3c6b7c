package files

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Finding is something an examiner would want to see first. It says what was
// seen and why that matters, never who did it.
type Finding struct {
	Kind     string   `json:"kind"`
	Severity string   `json:"severity"` // "high", "medium", "low", "info"
	Disk     string   `json:"disk"`
	Volume   string   `json:"volume,omitempty"`
	Path     string   `json:"path,omitempty"`
	Inode    uint64   `json:"inode,omitempty"`
	Time     Time     `json:"time"`  // lower end of the first event's interval
	Until    Time     `json:"until"` // upper end of the last one's
	Reasons  []string `json:"reasons"`
	Paths    []string `json:"paths,omitempty"` // of a finding about many files, the first of them
	Count    int      `json:"count,omitempty"` // how many files
	Records  []uint64 `json:"records"`         // sequence numbers of tape records that show it
}

// The kinds of finding.
const (
	FindSetuid      = "setuid"                  // a set-user-id or set-group-id program appeared
	FindStomp       = "time-stomp"              // timestamps that do not tell when a file was made or changed
	FindKept        = "times-kept"              // new files with earlier times, as archivers and copying tools leave them
	FindLog         = "log-tampering"           // a log shortened, rewritten or removed
	FindRotation    = "log-rotation"            // a log cut or removed as log rotation does
	FindRansom      = "mass-encryption"         // many files turned into noise
	FindShred       = "overwrite-before-delete" // content destroyed, then the file
	FindPersistence = "persistence"             // a place that makes code run again was changed
	FindAccount     = "account-change"          // user database changed
	FindBinary      = "system-binary-changed"
	FindDropper     = "short-lived-executable"
	FindHidden      = "executable-in-odd-place"
	FindTamper      = "tamper-below-filesystem"
	FindTransient   = "transient-entries"
)

// limits on what the finder remembers.
const (
	maxFindings  = 10000
	maxEvidence  = 64
	maxRemember  = 8192
	ransomWindow = int64(60e9) // ns
	ransomFiles  = 8
	shortLife    = int64(300e9)
)

// finder watches the events go by.
type finder struct {
	a      *Analyzer
	list   []*Finding
	recent map[fileKey]*life
	order  []fileKey
	waves  map[string]*wave     // by volume
	logs   map[string]*rotation // by the path of the log
	kept   map[string]*keptTimes
	// passing are programs whose places may yet be taken by the same.
	passing  []*passing
	installs []Time // when dpkg wrote down what is installed
	// compared counts the files whose neighbours were looked at for their times.
	compared int
	// read counts the copies of logs that were read or unpacked.
	read int
}

type fileKey struct {
	volume string
	id     fs.ID
	gen    uint64
}

// life is what is remembered of a file for as long as it may matter.
type life struct {
	born       Time
	executable bool
	fills      bool       // what was written last was not written before
	covered    []fs.Range // of a file whose creation was seen: what was written since
	overwrites int        // in place, of most of it
	drowned    bool       // by noise, where something readable was
	dated      dated
	sum        string // of the content when it was last written
	size       uint64
	records    []uint64
}

func newLife() *life { return &life{born: Unknown, dated: dated{prior: Unknown, earned: Unknown}} }

func newFinder(a *Analyzer) *finder {
	return &finder{a: a, recent: map[fileKey]*life{}, waves: map[string]*wave{}, kept: map[string]*keptTimes{}, logs: map[string]*rotation{}}
}

// Findings lists what has been found so far, by time.
func (a *Analyzer) Findings() []Finding {
	a.findings.again()
	out := make([]Finding, 0, len(a.findings.list))
	for _, f := range a.findings.list {
		g := *f
		g.Records = slices.Clone(g.Records) // the evidence still grows
		slices.Sort(g.Records)
		g.Records = slices.Compact(g.Records)
		out = append(out, g)
	}
	slices.SortStableFunc(out, func(a, b Finding) int { return cmp.Compare(a.Time, b.Time) })
	return out
}

// again looks at what may have changed since it was found: content reaches the disk
// after the names.
func (f *finder) again() {
	for _, log := range keys(f.logs) {
		f.judge(f.logs[log])
	}
	f.passing = slices.DeleteFunc(f.passing, f.settled)
}

func (f *finder) add(g *Finding) {
	if len(f.list) < maxFindings {
		f.list = append(f.list, g)
	}
}

// about starts a finding on one event.
func (f *finder) about(e *Event, kind, severity string, reasons ...string) {
	f.add(&Finding{Kind: kind, Severity: severity, Disk: e.Disk, Volume: e.Volume, Path: e.Path, Inode: e.Inode,
		Time: e.TimeLower, Until: e.TimeUpper, Reasons: reasons, Records: []uint64{e.FirstRecord, e.LastRecord}})
}

// see takes the next event.
func (f *finder) see(e *Event) {
	l := f.life(e)
	f.permissions(e)
	f.times(e, l)
	f.logged(e)
	f.installed(e)
	f.places(e)
	f.lives(e, l)
	f.encryption(e, l)
}

func (f *finder) life(e *Event) *life {
	k := fileKey{e.Volume, e.id, e.Generation}
	l := f.recent[k]
	if l == nil {
		if len(f.recent) >= maxRemember {
			delete(f.recent, f.order[0])
			f.order = f.order[1:]
		}
		l = newLife()
		f.recent[k] = l
		f.order = append(f.order, k)
	}
	if len(l.records) < maxEvidence {
		l.records = append(l.records, e.FirstRecord, e.LastRecord)
	}
	return l
}

func (f *finder) tamper(v *volumeState, p Problem, at fs.Stamp) {
	wall := f.a.clock.wall(at.Time)
	f.add(&Finding{Kind: FindTamper, Severity: "high", Disk: f.a.o.Disk, Volume: v.def.Name, Path: p.Path, Inode: p.Inode,
		Time: wall, Until: wall, Reasons: []string{p.Text}, Records: []uint64{at.Seq}})
}

// transient: a directory was modified and holds what it held before: names came
// and went between two commits. Programs that work in a folder of files leave that all
// the time; where the system's programs are, and what makes code run again, few do.
func (f *finder) transient(v *volumeState, change *fs.InodeChange, tx *fs.Tx) {
	path, n := v.names.path(change.ID), change.New
	reason := fmt.Sprintf("%s was modified but lists the same names: something was made and removed between two commits and never reached the disk; memory may still hold it", path)
	if n.MTime == n.CTime && n.ATime == n.CTime && n.ATime != change.Old.ATime {
		reason += "; or its times were set to now, its access time is the same"
	}
	severity := "info"
	if inside := join(path, ""); systemPlace(inside) || runsAgain(inside) != "" {
		severity = "low"
	}
	f.add(&Finding{Kind: FindTransient, Severity: severity, Disk: f.a.o.Disk, Volume: v.def.Name, Path: path, Inode: change.ID.Num,
		Time: Time(n.MTime), Until: Time(n.MTime + tick), Records: []uint64{tx.First.Seq, tx.Last.Seq}, Reasons: []string{reason}})
}
