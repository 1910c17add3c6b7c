package files

import (
	"errors"
	"fmt"
	"io"
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

// rotation is a log that was cut in place and the rotated copies of it that were made
// at about that time, whichever is told first: logrotate's copytruncate leaves a copy
// that holds what was cut. The name and the time of a copy are the choice of whoever
// wants a log gone; that what was cut is still there is not.
type rotation struct {
	cut    *Finding // what was said of the log
	said   string   // how it was cut
	sum    string   // hash of what was cut, "" if it was not taken
	size   uint64   // and its length, bytes
	copies []logCopy
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
	verdict    verdict
	why        string
}

// verdict says whether a copy holds what was cut from the log, the worst first.
type verdict int

const (
	unasked verdict = iota // or its content may still come
	holdsOther
	notCompared
	holdsIt
)

// worth is what the verdict on a copy is good for: of one that is still to be given no
// more is known than of a copy that cannot be compared.
func (c *logCopy) worth() verdict {
	if c.verdict == unasked {
		return notCompared
	}
	return c.verdict
}

// fresh reports whether a copy was made so lately that its content may still come.
func (c *logCopy) fresh() bool { return Time(c.vol.last)-c.at <= Time(fs.WritebackLag) }

// copied names the log that a file is a rotated copy of, by the name.
var copied = regexp.MustCompile(`^(.*?)(?:\.\d+|\.old|-\d{8,})(?:\.(?:gz|bz2|xz|zst))?$`)

// rotates notes a file that has the name of a rotated log.
func (f *finder) rotates(e *Event) {
	m := copied.FindStringSubmatch(e.Path)
	if m == nil || !isLog(m[1]) || e.Op != OpCreate && e.Op != OpWrite {
		return
	}
	r := f.rotation(m[1])
	if r == nil {
		return
	}
	r.copies = slices.DeleteFunc(r.copies, func(c logCopy) bool { return c.path == e.Path || e.CTime-c.at > soon })
	if len(r.copies) == maxCopies {
		r.copies = slices.Delete(r.copies, 0, 1)
	}
	c := logCopy{path: e.Path, at: e.CTime, vol: e.vol, id: e.id, generation: e.Generation, sum: e.SHA256New}
	if e.Size != nil {
		c.size = *e.Size
	}
	r.copies = append(r.copies, c)
	f.judge(r)
}

// cut notes that a log was cut, with the finding that says so.
func (f *finder) cut(e *Event) {
	r := f.rotation(e.Path)
	if r == nil || len(f.list) == maxFindings {
		return
	}
	r.cut, r.sum, r.size = f.list[len(f.list)-1], e.SHA256Old, *e.SizeOld
	r.said = r.cut.Reasons[0]
	for i := range r.copies {
		r.copies[i].verdict = unasked
	}
	f.judge(r)
}

func (f *finder) rotation(log string) *rotation {
	r := f.logs[log]
	if r == nil && len(f.logs) < maxRemember {
		r = &rotation{}
		f.logs[log] = r
	}
	return r
}

// judge says again what the cutting of a log was, from the copies made beside it at the
// time: one that holds what was cut settles it.
func (f *finder) judge(r *rotation) {
	if r.cut == nil || !r.cut.Time.Known() {
		return
	}
	var best *logCopy
	for i := range r.copies {
		c := &r.copies[i]
		if !c.at.Known() || c.at-r.cut.Until > soon || r.cut.Time-c.at > soon {
			continue
		}
		if c.verdict == unasked {
			c.verdict, c.why = f.compare(r, c)
		}
		if best == nil || c.worth() > best.worth() {
			best = c
		}
	}
	if best == nil {
		return
	}
	g := r.cut
	g.Kind, g.Severity = FindLog, "high"
	g.Reasons = []string{r.said, best.path + " was made beside it at the time, " + best.why}
	switch best.worth() {
	case notCompared:
		g.Severity = "medium"
	case holdsIt:
		g.Kind, g.Severity = FindRotation, "info"
		*r = rotation{} // what comes now is of the next
	}
}

// compare says whether a copy holds what was cut from the log. What is logged while a
// log is copied may be in the copy alone, and have reached the log's own blocks never:
// what was cut must be what the copy begins with.
func (f *finder) compare(r *rotation, c *logCopy) (verdict, string) {
	const holds = "and holds what was cut, as logrotate's copytruncate leaves it"
	how := packing(c.path)
	switch {
	case r.sum == "":
		return notCompared, "but what was cut was not hashed: whether it holds that is not known"
	case how == "" && c.sum == r.sum:
		return holdsIt, holds
	case how == "" && c.sum != "" && c.size <= r.size:
		return holdsOther, fmt.Sprintf("but holds something else, %d bytes", c.size)
	case f.read >= maxRead:
		return notCompared, "but too many were compared already: whether it holds what was cut is not known"
	}
	f.read++
	sum, n, err := c.begins(how, r.size)
	switch {
	case err != nil:
		return notCompared, "but whether it holds what was cut could not be seen: " + err.Error()
	case n == r.size && sum == r.sum:
		return holdsIt, holds
	case n == 0 && c.fresh():
		return unasked, "but is empty: what it holds had not reached the disk"
	case n < r.size:
		return holdsOther, fmt.Sprintf("but holds something else, %d bytes", n)
	}
	return holdsOther, "but holds something else"
}

var (
	errGone = errors.New("it is gone already")
	errLate = errors.New("its content has not reached the disk")
)

// begins hashes the first n bytes of what the copy holds now, unpacked, or all if there
// are fewer; got is how many there were.
func (c *logCopy) begins(packing string, n uint64) (sum string, got uint64, err error) {
	a, err := c.vol.fs.Stat(c.id)
	if errors.Is(err, fs.ErrNotFound) || err == nil && a.Generation != c.generation {
		return "", 0, errGone
	}
	if _, late := c.vol.awaited[c.id]; late {
		return "", 0, errLate
	}
	if err != nil {
		return "", 0, err
	}
	content, err := c.vol.fs.Content(c.id)
	if err != nil {
		return "", 0, err
	}
	return hashUnpacked(io.NewSectionReader(content, 0, int64(content.Size())), packing, n)
}
