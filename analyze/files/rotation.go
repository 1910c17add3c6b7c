package files

import (
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

const (
	// maxCopies bounds the copies that are compared with one log.
	maxCopies = 16
	// maxRead bounds the copies that are read, or unpacked, to be compared.
	maxRead = 1024
)

// rotation is what was lost of a log and of its rotated copies, and the copies that were
// made at about that time, whichever is told first. Log rotation cuts or removes nothing
// that it has not copied, but what is oldest. The name and the time of a copy are the
// choice of whoever wants a log gone; that what was lost is still there is not.
type rotation struct {
	losses []*loss
	copies []*logCopy
	came   []arrival
}

// arrival is a new generation of a log, for which the oldest one may go.
type arrival struct {
	id fs.ID
	at Time
}

// loss is content of a log, or of a rotated one, that is gone.
type loss struct {
	finding  *Finding
	said     string // what the finding says by itself
	severity string
	sum      string // hash of what is known of what is gone, "" if it was not taken
	size     uint64 // and its length, bytes
	all      uint64 // length of all that is gone
	id       fs.ID
	oldest   bool // it was the oldest generation
	answers  map[*logCopy]answer
}

// answer says whether a copy holds what is gone.
type answer struct {
	verdict verdict
	why     string
}

// logCopy is a file that has the name of a rotated log.
type logCopy struct {
	path       string
	at         Time // when it was last changed
	vol        *volumeState
	id         fs.ID
	generation uint64
	sum        string // of what it held then, "" if it was not taken
	size       uint64
}

// verdict is worth the more, the less of the log is gone.
type verdict int

const (
	holdsOther verdict = iota
	notYet             // its content may still come
	notCompared
	holdsIt
)

// copied names the log that a file is a rotated copy of, by the name.
var copied = regexp.MustCompile(`^(.*?)(?:\.\d+|\.old|-\d{8,})?(?:\.(?:gz|bz2|xz|zst))?$`)

// generationOf names the log that a file is an older generation of, "" if it is none.
func generationOf(p string) string {
	if m := copied.FindStringSubmatch(p); m != nil && m[1] != p && isLog(m[1]) {
		return m[1]
	}
	return ""
}

// rotates notes a file that has the name of a rotated log.
func (f *finder) rotates(e *Event) {
	log := generationOf(e.Path)
	if log == "" || e.Op != OpCreate && e.Op != OpWrite && e.Op != OpRename {
		return
	}
	r := f.rotation(log)
	if r == nil {
		return
	}
	if e.Op == OpRename {
		if e.OldPath == log {
			r.arrive(e.id, e.TimeLower)
			f.judge(r)
		}
		return
	}
	r.copies = slices.DeleteFunc(r.copies, func(c *logCopy) bool { return c.path == e.Path || e.CTime-c.at > soon })
	if len(r.copies) == maxCopies {
		r.copies = slices.Delete(r.copies, 0, 1)
	}
	c := &logCopy{path: e.Path, at: e.CTime, vol: e.vol, id: e.id, generation: e.Generation, sum: e.SHA256New}
	if e.Size != nil {
		c.size = *e.Size
	}
	r.copies = append(r.copies, c)
	f.judge(r)
}

// lost tells of content of a log that is gone, of so many bytes, unless a copy holds it.
func (f *finder) lost(e *Event, log, severity string, size uint64, said string) {
	n := len(f.list)
	f.about(e, FindLog, severity, said)
	r := f.rotation(log)
	if r == nil || len(f.list) == n {
		return
	}
	r.copies = slices.DeleteFunc(r.copies, func(c *logCopy) bool { return c.id == e.id })
	r.losses = slices.DeleteFunc(r.losses, func(l *loss) bool { return e.TimeLower-l.finding.Until > soon })
	if len(r.losses) == maxCopies {
		r.losses = slices.Delete(r.losses, 0, 1)
	}
	r.losses = append(r.losses, &loss{finding: f.list[n], said: said, severity: severity, sum: e.SHA256Old, size: size,
		all: size, id: e.id, oldest: e.oldest(log), answers: map[*logCopy]answer{}})
	r.losses[len(r.losses)-1].known(f.life(e))
	f.judge(r)
}

// known takes, of a log that had grown and went before that reached the disk, what was told
// of it before: what the disk has in the place of the rest the guest never saw.
func (l *loss) known(before *life) {
	if before.sum != "" && before.size < l.size {
		l.sum, l.size = before.sum, before.size
	}
}

// arrive takes in a new generation.
func (r *rotation) arrive(id fs.ID, at Time) {
	if len(r.came) == maxCopies {
		r.came = slices.Delete(r.came, 0, 1)
	}
	r.came = append(r.came, arrival{id, at})
}

func (f *finder) rotation(log string) *rotation {
	r := f.logs[log]
	if r == nil && len(f.logs) < maxRemember {
		r = &rotation{}
		f.logs[log] = r
	}
	return r
}

// judge says again what the losses of a log were, from the copies made beside it at the
// time: one that holds what is gone settles it, or one that the oldest made way for.
func (f *finder) judge(r *rotation) {
	r.losses = slices.DeleteFunc(r.losses, func(l *loss) bool {
		var best *logCopy
		for _, c := range r.copies {
			if g := l.finding; !c.at.Known() || !g.Time.Known() || c.at-g.Until > soon || g.Time-c.at > soon {
				continue
			}
			if a, asked := l.answers[c]; !asked || a.verdict == notYet {
				l.answers[c] = f.compare(l, c)
			}
			if best == nil || l.answers[c].verdict > l.answers[best].verdict {
				best = c
			}
		}
		settled := best != nil && l.told(best.path, l.answers[best])
		if settled {
			r.arrive(best.id, best.at)
		}
		return settled || r.madeWay(l)
	})
}

// madeWay reports whether what is gone was the oldest generation, and another came.
func (r *rotation) madeWay(l *loss) bool {
	g := l.finding
	i := slices.IndexFunc(r.came, func(c arrival) bool {
		return l.oldest && c.id != l.id && c.at.Known() && g.Time.Known() && c.at-g.Until <= making && g.Time-c.at <= making
	})
	if i < 0 {
		return false
	}
	r.came = slices.Delete(r.came, i, i+1)
	g.Kind, g.Severity, g.Reasons = FindRotation, "info", []string{l.said, "it was the oldest, and another came"}
	return true
}

// told says what is gone by the best of the copies, and whether that settles it.
func (l *loss) told(path string, a answer) bool {
	g := l.finding
	g.Kind, g.Severity, g.Reasons = FindLog, l.severity, []string{l.said, path + " was made beside it at the time, " + a.why}
	switch a.verdict {
	case notYet, notCompared:
		g.Severity = "medium"
	case holdsIt:
		g.Kind, g.Severity = FindRotation, "info"
		return true
	}
	return false
}

// compare says whether a copy holds what is gone from the log. What is logged while a
// log is copied may be in the copy alone, and have reached the log's own blocks never:
// what is gone must be what the copy begins with.
func (f *finder) compare(l *loss, c *logCopy) answer {
	const holds, other = "and holds what is gone, as log rotation leaves it", "but holds something else"
	how := packing(c.path)
	switch {
	case !c.lives():
		return answer{holdsOther, "but is gone already"}
	case l.sum == "":
		return answer{notCompared, "but what is gone was not hashed: whether it holds that is not known"}
	case how == "" && c.sum == l.sum && c.size >= l.all:
		return answer{holdsIt, holds}
	case how == "" && c.sum != "" && c.size <= l.size:
		return answer{holdsOther, other + fmt.Sprintf(", %d bytes", c.size)}
	case f.read >= maxRead:
		return answer{notCompared, "but too many were compared already: whether it holds what is gone is not known"}
	}
	f.read++
	sum, n, err := c.begins(how, l.size)
	if err == nil && n == l.size && l.all > l.size {
		_, n, err = c.begins(how, l.all)
	}
	switch {
	case err != nil:
		return answer{notCompared, "but whether it holds what is gone could not be seen: " + err.Error()}
	case n == l.all && sum == l.sum:
		return answer{holdsIt, holds}
	case n == 0 && Time(c.vol.last)-c.at <= Time(fs.WritebackLag):
		return answer{notYet, "but is empty: what it holds had not reached the disk"}
	case n < l.all:
		return answer{holdsOther, other + fmt.Sprintf(", %d bytes", n)}
	}
	return answer{holdsOther, other}
}

func (c *logCopy) lives() bool {
	if c.vol.fs == nil {
		return false
	}
	a, err := c.vol.fs.Stat(c.id)
	return err == nil && a.Live && a.Generation == c.generation
}

var errLate = errors.New("its content has not reached the disk")

// begins hashes the first n bytes of what the copy holds now, unpacked, or all if there
// are fewer; got is how many there were.
func (c *logCopy) begins(packing string, n uint64) (sum string, got uint64, err error) {
	if _, late := c.vol.awaited[c.id]; late {
		return "", 0, errLate
	}
	content, err := c.vol.fs.Content(c.id)
	if err != nil {
		return "", 0, err
	}
	return hashUnpacked(io.NewSectionReader(content, 0, int64(content.Size())), packing, n)
}

// oldest reports whether a file that was removed was an older generation of a log than
// all that are left.
func (e *Event) oldest(log string) bool {
	if log == e.Path || e.vol == nil || e.vol.names == nil {
		return false
	}
	dir, ok := e.vol.names.lookup(path.Dir(e.Path))
	beside := e.vol.names.entries[dir]
	if !ok || len(beside) > maxNeighbours {
		return false
	}
	left := 0
	for name, id := range beside {
		if generationOf(join(path.Dir(e.Path), name)) != log {
			continue
		}
		if a, err := e.vol.fs.Stat(id); err != nil || Time(a.MTime) < e.MTime {
			return false
		}
		left++
	}
	return left > 0
}
