package files

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/xentape/xentape/analyze/internal/fs"
)

const (
	// soon is how long after the last write of a file a program that copies or unpacks
	// sets its times, with the renaming and the commit that may lie between.
	soon = Time(10e9)
	// making is how long a file may take to be copied, unpacked or fetched.
	making = Time(60e9)
	// severalKept is how many new files with earlier times, one soon after the other,
	// are an archive or a tree of files and no longer one that was dressed up.
	severalKept = 3
	// maxCompared bounds the files whose neighbours are looked at.
	maxCompared = 1024
	// maxNeighbours bounds the directory they may be in.
	maxNeighbours = 4096
)

// dated is what is remembered of the modification times of a file.
type dated struct {
	prior   Time   // before what was written last
	earned  Time   // by what was written last
	written uint64 // the transaction that brought it
	told    uint64 // the transaction of which the time was judged already
}

// wrote takes in a write.
func (d *dated) wrote(e *Event) {
	if e.MTimeOld != nil && (!d.earned.Known() || *e.MTimeOld != d.earned || e.MTime-*e.MTimeOld > soon) {
		d.prior = *e.MTimeOld
	}
	d.earned, d.written = e.MTime, e.Transaction
}

// justBefore reports whether the file was written as part of what set its times.
func (d *dated) justBefore(e *Event) bool {
	if d.written != 0 && d.written == e.Transaction {
		return true
	}
	return d.earned.Known() && e.MTimeOld != nil && *e.MTimeOld == d.earned && e.CTime-d.earned <= soon
}

// times judges a modification time that was set back. Three things leave one: a program
// that copies or unpacks and gives what it makes the time of the original; the same over
// a file that was there; and whoever wants to hide when a file was made or changed.
func (f *finder) times(e *Event, l *life) {
	if e.Type != "file" {
		return
	}
	switch e.Op {
	case OpWrite, OpTruncate:
		l.dated.wrote(e)
		f.unearned(e, &l.dated)
	case OpCreate, OpRename:
		if e.ReplacedInode != 0 && e.MTimeOld != nil && *e.MTimeOld == e.MTime && e.SHA256Old != "" && e.SHA256Old != e.SHA256New {
			f.about(e, FindStomp, "high", "another file of other content took its place, with the very modification time of the one before: "+e.MTime.String())
			l.dated.told = e.Transaction
		}
	case OpUtime:
		back := e.MTimeOld != nil && e.MTime < *e.MTimeOld
		if unborn := e.BTime.Known() && e.MTime < e.BTime; (back || unborn) && (l.dated.told == 0 || l.dated.told != e.Transaction) {
			f.setBack(e, l, back)
		}
	}
}

const newerKept = "as cp -p and rsync --inplace leave a newer version; touch -r and touch -d after a change leave the same on the disk"

// unearned judges a change of content whose modification time is none of its making.
func (f *finder) unearned(e *Event, d *dated) {
	if !e.unearned || e.SHA256Old == "" || e.SHA256New == "" || e.SHA256Old == e.SHA256New || e.MTime < *e.MTimeOld {
		return // what was moved back is an event of its own
	}
	d.told = e.Transaction
	if e.MTime == *e.MTimeOld {
		f.about(e, FindStomp, "high", "its content was changed, and its modification time is the one from before the change: "+e.MTime.String())
	} else if twin := f.twin(e); twin != "" {
		f.stomped(e, d, false, twin)
	} else {
		f.about(e, FindKept, "info", "its content was changed and given an earlier time, "+e.MTime.String()+", later than the one it had: "+newerKept)
	}
}

// setBack judges times that were set to before what they were, or to before the file was.
func (f *finder) setBack(e *Event, l *life, back bool) {
	d, twin := &l.dated, f.twin(e)
	switch {
	case twin != "":
	case e.asMade(l.born):
		f.keeps(e)
		return
	case packaged(e.Path):
		f.about(e, FindKept, "info", "given an earlier time, "+e.MTime.String()+": package managers keep the times of what they unpack and fetch")
		return
	case d.justBefore(e) && d.prior.Known() && e.MTime > d.prior:
		f.about(e, FindKept, "info", "written and given an earlier time, "+e.MTime.String()+", later than the one it had: "+newerKept)
		return
	}
	f.stomped(e, d, back, twin)
}

// asMade reports whether the time was set as the last step of making the file, whose
// creation was seen at born.
func (e *Event) asMade(born Time) bool {
	switch {
	case e.MTimeOld == nil:
		return true // in the transaction that created it
	case !born.Known():
		return false
	case e.BTime.Known():
		born = e.BTime
	}
	return *e.MTimeOld >= born-Time(tick) && *e.MTimeOld-born <= making && e.CTime-*e.MTimeOld <= soon
}

// stomped tells of a time that was set to mislead, or that cannot be told from it.
func (f *finder) stomped(e *Event, d *dated, back bool, twin string) {
	severity := "medium"
	var why []string
	if back {
		why = append(why, fmt.Sprintf("mtime was moved back from %s to %s", *e.MTimeOld, e.MTime))
	}
	if e.BTime.Known() && e.MTime < e.BTime {
		why = append(why, fmt.Sprintf("mtime %s lies before the inode's creation %s", e.MTime, e.BTime))
	}
	changed := e.MTimeOld != nil && d.justBefore(e)
	switch {
	case changed && d.prior.Known() && e.MTime == d.prior:
		severity = "high"
		why = append(why, "its content was changed just before, and this is the time it had until then")
	case changed && twin == "":
		why = append(why, "its content was changed just before; an older version put back with its time (cp -p, rsync --inplace, unzip -o) leaves the same on the disk")
	}
	if twin != "" {
		severity = "high"
		why = append(why, fmt.Sprintf("its times are those of %q beside it, whose content is another: as touch -r sets them", twin))
	}
	if e.wholeSeconds() {
		why = append(why, "whole seconds: set by a tool, not by a write")
	}
	f.about(e, FindStomp, severity, why...)
}

// wholeSeconds reports whether the time is of a coarser kind than the file system keeps.
func (e *Event) wholeSeconds() bool { return e.MTime%1e9 == 0 && e.CTime%1e9 != 0 }

// datedByHand says what speaks for touch -d in the times of a new file, "" if nothing does.
func (e *Event) datedByHand() string {
	switch {
	case e.MTime%1e9 != 0 || !e.dressed():
	case e.ATime == e.MTime:
		return "the access time was set to the same"
	case e.ATime > e.CTime:
		return "what the access time was set to is not known, it was read since"
	case runsAgain(e.Path) != "":
		return "it is where code is run from again: " + runsAgain(e.Path)
	}
	return ""
}

// dressed reports whether an old date is of use to a new file: a program, one among those
// of the system or where code is run from again, or one with a hidden name.
func (e *Event) dressed() bool {
	return !packaged(e.Path) && (e.Mode.Bits&0o111 != 0 || systemPlace(e.Path) || runsAgain(e.Path) != "" || strings.HasPrefix(path.Base(e.Path), "."))
}

// packaged are the files of package managers, which keep the times of where they were
// fetched from or packed.
func packaged(p string) bool {
	for _, dir := range []string{"/var/lib/apt/lists/", "/var/cache/apt/", "/var/lib/dpkg/", "/var/cache/debconf/"} {
		if strings.HasPrefix(p, dir) {
			return true
		}
	}
	return strings.HasSuffix(p, ".dpkg-new") || strings.HasSuffix(p, ".dpkg-tmp")
}

// keptTimes is a run of new files with earlier times, each soon after the one before.
type keptTimes struct {
	finding *Finding
	last    Time   // when the times of the last one were set
	alike   string // a file that looks as if it was dated by hand
	why     string
	set     Time
}

// keeps tells of a new file with an earlier time, together with those around it.
func (f *finder) keeps(e *Event) {
	k := f.kept[e.Volume]
	if k == nil || e.CTime-k.last > soon {
		k = &keptTimes{finding: &Finding{Disk: e.Disk, Volume: e.Volume, Path: e.Path, Inode: e.Inode, Time: e.TimeLower}}
		f.kept[e.Volume] = k
		f.add(k.finding)
	}
	g := k.finding
	k.last = max(k.last, e.CTime)
	g.Until = e.TimeUpper
	g.Count++
	if len(g.Paths) < maxEvidence {
		g.Paths = append(g.Paths, e.Path)
	}
	if len(g.Records) < maxEvidence {
		g.Records = append(g.Records, e.FirstRecord, e.LastRecord)
	}
	if why := e.datedByHand(); why != "" && k.alike == "" {
		k.alike, k.why, k.set = e.Path, why, e.MTime
	}
	g.Kind, g.Severity = FindKept, "info"
	switch {
	case g.Count >= severalKept:
		g.Path, g.Inode = path.Dir(g.Paths[0]), 0
		g.Reasons = []string{fmt.Sprintf("%d new files got earlier times as they were made: unpacked or copied with their times, as tar, unzip, dpkg, cp -p and rsync do; one among them that was dated by hand would look the same", g.Count)}
	case k.alike != "":
		g.Kind, g.Severity, g.Path = FindStomp, "medium", k.alike
		g.Reasons = []string{
			fmt.Sprintf("mtime %s lies before the file was made; %s", k.set, k.why),
			"whole seconds: set by a tool, not by a write; as touch -d does, and a program that unpacks a single file",
		}
	default:
		g.Reasons = []string{fmt.Sprintf("mtime %s lies before the file was made, and was set as it was: copied, unpacked, compressed or fetched with its time, as cp -p, tar, gzip, rsync and wget do; touch -r and touch -d leave the same on the disk", e.MTime)}
	}
}

// twin finds a file of the same directory, there before and of other content, whose
// times are the very ones that were set; "" if there is none, or it proves nothing:
// files of one package share a whole second.
func (f *finder) twin(e *Event) string {
	if e.vol == nil || e.vol.names == nil || f.compared >= maxCompared || e.MTime%1e9 == 0 && e.ATime == e.MTime {
		return ""
	}
	for _, at := range e.vol.names.of[e.id] {
		beside := e.vol.names.entries[at.parent]
		if len(beside) > maxNeighbours {
			continue
		}
		f.compared++
		var found []string
		for name, id := range beside {
			if id != e.id && !derived(at.name, name) && e.datedAs(id) {
				found = append(found, name)
			}
		}
		if len(found) > 0 {
			return slices.Min(found)
		}
	}
	return ""
}

// derived reports whether one name is the other and an extension more: compression and
// backups keep the time.
func derived(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	rest, begins := strings.CutPrefix(b, a)
	return begins && strings.ContainsAny(rest[:min(1, len(rest))], ".~-")
}

// datedAs reports whether a file was there before, has the times that e set, and holds
// something else.
func (e *Event) datedAs(id fs.ID) bool {
	v := e.vol
	a, err := v.fs.Stat(id)
	if err != nil || a.Type != fs.TypeFile || Time(a.MTime) != e.MTime || e.MTime%1e9 == 0 && Time(a.ATime) != e.ATime {
		return false
	}
	if a.BTime != fs.NoTime && Time(a.BTime) > e.CTime-soon || a.CTime == fs.NoTime || Time(a.CTime) > e.CTime {
		return false
	}
	own, err := v.fs.Stat(e.id)
	if err != nil || own.Size != a.Size || !v.a.o.Hash {
		return err == nil && own.Size != a.Size
	}
	return !v.now(id, a).same(v.now(e.id, own))
}
