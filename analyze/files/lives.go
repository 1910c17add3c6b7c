package files

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// noisy is the entropy above which bytes look compressed or encrypted, for a
// sample of n bytes: few bytes cannot show more than log2(n).
func noisy(entropy float64, n uint64) bool {
	switch {
	case n < 256:
		return false
	case n < 1024:
		return entropy > 7.0
	case n < 4096:
		return entropy > 7.5
	}
	return entropy > 7.8
}

// written is how many bytes the event wrote.
func written(e *Event) uint64 { return length(e.Ranges) }

func length(rs []fs.Range) (n uint64) {
	for _, r := range rs {
		n += r.Len
	}
	return n
}

// lives follows files from birth to death: programs that exist for moments, and
// content destroyed before the file is.
func (f *finder) lives(e *Event, l *life) {
	if e.Type != "file" {
		return
	}
	exec := e.Mode.Bits&0o111 != 0 || e.MagicNew == "elf" || e.MagicNew == "script" || e.MagicNew == "pe"
	switch e.Op {
	case OpCreate:
		l.born = e.TimeLower
	case OpWrite:
		if e.Size != nil {
			l.sum, l.size = e.SHA256New, *e.Size
		}
		if l.fill(e); l.fills {
			break
		}
		if e.SHA256Old != "" && e.Size != nil && written(e)*2 >= *e.Size && e.EntropyNew != nil && overwritten(e) {
			l.overwrites++
			l.drowned = l.drowned || *e.EntropyNew != 0 && e.EntropyOld != nil && *e.EntropyOld < 7
		}
	case OpDelete:
		f.died(e, l)
		return
	}
	if exec && !l.executable {
		l.executable = true
		if odd := oddPlace(e.Path); odd != "" {
			f.about(e, FindHidden, "medium", odd)
		}
	}
}

// maxCovered bounds the ranges remembered of a file that is being filled.
const maxCovered = 256

// fill takes in what was written to a file whose creation was seen, and sets fills where
// most of that had not been written before: without a journal the blocks of a new file
// may be known before their content comes, and what they held until then was no file's;
// what is shown late took the place of nothing but zeros.
func (l *life) fill(e *Event) {
	if l.fills = e.Shown; l.fills || !l.born.Known() || len(l.covered) >= maxCovered {
		return
	}
	before := length(l.covered)
	l.covered = fs.JoinRanges(append(l.covered, e.Ranges...))
	l.fills = (length(l.covered)-before)*2 >= written(e)
}

// overwritten: what was written hides what was there, noise or one value.
func overwritten(e *Event) bool {
	return noisy(*e.EntropyNew, written(e)) || *e.EntropyNew == 0
}

func (f *finder) died(e *Event, l *life) {
	if l.executable && l.born.Known() && e.TimeUpper.Known() && int64(e.TimeUpper-l.born) <= shortLife {
		f.dropped(e, l)
	}
	if l.overwrites > 1 || l.drowned {
		times := fmt.Sprintf("%d times", l.overwrites)
		if l.overwrites == 1 {
			times = "with noise"
		}
		f.add(&Finding{Kind: FindShred, Severity: "high", Disk: e.Disk, Volume: e.Volume, Path: e.Path, Inode: e.Inode,
			Time: e.TimeLower, Until: e.TimeUpper, Records: append([]uint64{e.FirstRecord, e.LastRecord}, l.records...),
			Reasons: []string{"overwritten " + times + " in place, then deleted: its first content is the sha256_old of the first of these writes"}})
	}
}

// installed notes when dpkg writes down what is installed.
func (f *finder) installed(e *Event) {
	if e.Path != "/var/lib/dpkg/status" || !e.changes() {
		return
	}
	if len(f.installs) == maxEvidence {
		f.installs = slices.Delete(f.installs, 0, 1)
	}
	f.installs = append(f.installs, e.TimeLower)
}

// dropped tells of a program that existed for moments. Where the same is in its place,
// nothing is gone that could be looked for; and a package that is installed again puts
// another there, and writes down that it did.
func (f *finder) dropped(e *Event, l *life) {
	g := &Finding{Kind: FindDropper, Severity: "high", Disk: e.Disk, Volume: e.Volume, Path: e.Path, Inode: e.Inode,
		Time: l.born, Until: e.TimeUpper, Records: append([]uint64{e.FirstRecord, e.LastRecord}, l.records...)}
	g.Reasons = []string{fmt.Sprintf("executable existed for %s", lasted(l.born, e))}
	if e.SHA256Old != "" {
		g.Reasons = append(g.Reasons, "sha256 "+e.SHA256Old)
	}
	if len(f.list) == maxFindings {
		return
	}
	f.add(g)
	p := &passing{finding: g, vol: e.vol, path: strings.TrimSuffix(e.Path, ".dpkg-tmp"), sum: e.SHA256Old}
	if e.vol != nil && oddPlace(e.Path) == "" && !strings.HasPrefix(path.Base(e.Path), ".") && !f.replaced(p) && len(f.passing) < maxRemember {
		f.passing = append(f.passing, p)
	}
}

// passing is a program that existed for moments, in whose place another may be.
type passing struct {
	finding *Finding
	vol     *volumeState
	path    string // its own; dpkg keeps what it replaces beside it for a while
	sum     string // "" if it was not taken
}

// settled reports whether no more is to be learnt: another is in its place, or that would
// have come by now.
func (f *finder) settled(p *passing) bool {
	return f.replaced(p) || Time(p.vol.last)-p.finding.Until > making+Time(fs.WritebackLag)
}

// replaced reports whether another program is in its place that explains where it went,
// and says so.
func (f *finder) replaced(p *passing) bool {
	g := p.finding
	if p.vol.fs == nil {
		return false
	}
	id, ok := p.vol.names.lookup(p.path)
	if !ok {
		return false
	}
	a, err := p.vol.fs.Stat(id)
	if err != nil || a.Type != fs.TypeFile {
		return false
	}
	switch {
	case p.sum != "" && p.vol.now(id, a).sha() == p.sum:
		g.Reasons = append(g.Reasons, "a file of the same content is in its place")
	case a.Mode&0o111 != 0 && slices.ContainsFunc(f.installs, func(t Time) bool { return t.Known() && t-g.Until <= making && g.Time-t <= making }):
		g.Reasons = append(g.Reasons, "another program is in its place, and dpkg wrote down what is installed: a package that was installed again")
	default:
		return false
	}
	g.Severity = "info"
	return true
}

// lasted is how long a file existed, whose end may be known only to lie between two
// commits.
func lasted(born Time, e *Event) string {
	least, most := time.Duration(e.TimeLower-born).Round(1e6), time.Duration(e.TimeUpper-born).Round(1e6)
	switch {
	case !e.TimeLower.Known() || least < 0:
		return fmt.Sprintf("at most %v", most)
	case e.TimeUpper-e.TimeLower > Time(tick):
		return fmt.Sprintf("%v to %v", least, most)
	}
	return least.String()
}

// oddPlace says why a program should not be there; "" when it may.
func oddPlace(p string) string {
	for _, dir := range []string{"/tmp/", "/var/tmp/", "/dev/shm/", "/run/shm/", "/var/www/"} {
		if strings.HasPrefix(p, dir) {
			return "executable in " + strings.TrimSuffix(dir, "/")
		}
	}
	if strings.HasPrefix(path.Base(p), ".") && (systemPlace(p) || strings.HasPrefix(p, "/usr/local/")) {
		return "executable with a hidden name among system programs"
	}
	return ""
}
