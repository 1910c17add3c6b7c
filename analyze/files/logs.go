package files

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// isLog recognises where logs and login records are kept.
func isLog(p string) bool {
	base := path.Base(p)
	switch base {
	case "wtmp", "btmp", "utmp", "lastlog", "auth.log", "secure", "syslog", "messages", "kern.log", "audit.log", ".bash_history", ".zsh_history", ".ash_history":
		return true
	}
	return (strings.Contains(p, "/var/log/") || strings.HasPrefix(p, "/log/")) && !strings.HasSuffix(base, ".gz") && !strings.Contains(base, "sed")
}

// rotated are the names that logrotate and others give: the oldest of these goes in time.
var rotated = regexp.MustCompile(`\.(\d+|old)$|-\d{8,}$`)

// logs only grow, and go by being renamed. Anything else is said.
func (f *finder) logged(e *Event) {
	if e.Type != "file" {
		return
	}
	f.rotates(e)
	if !isLog(e.Path) {
		return
	}
	switch e.Op {
	case OpTruncate:
		if e.SizeOld != nil && e.Size != nil && *e.Size < *e.SizeOld {
			f.about(e, FindLog, "high", fmt.Sprintf("log cut from %d to %d bytes in place", *e.SizeOld, *e.Size))
			f.cut(e)
		}
	case OpDelete:
		if e.Size != nil && *e.Size > 0 {
			switch {
			case strings.HasSuffix(e.Path, ".old"): // whoever wants a log gone renames it so, too
				f.about(e, FindLog, "low", fmt.Sprintf("old log of %d bytes removed", *e.Size))
			case rotated.MatchString(e.Path):
				f.about(e, FindRotation, "info", fmt.Sprintf("rotated log of %d bytes removed", *e.Size))
			default:
				f.about(e, FindLog, "medium", fmt.Sprintf("log of %d bytes removed", *e.Size))
			}
		}
	case OpWrite, OpRename, OpCreate:
		if e.Op == OpRename && isLog(e.OldPath) && rotated.MatchString(e.Path) {
			return
		}
		removed, added := changedLines(e.Diff)
		if removed > 0 && e.replaced() {
			f.about(e, FindLog, "high", fmt.Sprintf("log replaced by a version without %d of its lines (%d new)", removed, added))
		} else if removed > 1 {
			f.about(e, FindLog, "high", fmt.Sprintf("%d lines of the log rewritten or removed (%d new)", removed, added))
		} else if e.Op == OpWrite && e.Size != nil && e.SizeOld != nil && *e.Size < *e.SizeOld {
			f.about(e, FindLog, "high", fmt.Sprintf("log shortened from %d to %d bytes", *e.SizeOld, *e.Size))
		}
	}
}

func changedLines(diff string) (removed, added int) {
	for line := range strings.Lines(diff) {
		switch {
		case strings.HasPrefix(line, "---") || strings.HasPrefix(line, "+++"):
		case line[0] == '-':
			removed++
		case line[0] == '+':
			added++
		}
	}
	return removed, added
}

// rotation is the copying of a log to another name, and the cutting of the log that
// should come with it, whichever is told first.
type rotation struct {
	copy    string
	sum     string // of the copy, "" if it is another's or was not taken
	at      Time
	cut     *Finding
	content string // hash of what was cut
	judged  bool
}

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
	if r.copy != e.Path && r.judged {
		*r = rotation{at: Unknown} // that was the rotation before
	}
	r.copy, r.at = e.Path, e.CTime
	if e.SHA256New != "" {
		r.sum = e.SHA256New
	}
	r.judge()
}

// cut notes that a log was cut, with the finding that says so.
func (f *finder) cut(e *Event) {
	if r := f.rotation(e.Path); r != nil && *e.Size == 0 && len(f.list) > 0 {
		r.cut, r.content = f.list[len(f.list)-1], e.SHA256Old
		r.judge()
	}
}

func (f *finder) rotation(log string) *rotation {
	r := f.logs[log]
	if r == nil && len(f.logs) < maxRemember {
		r = &rotation{at: Unknown}
		f.logs[log] = r
	}
	return r
}

// judge takes back what was said of a log that was cut when its content is beside it.
func (r *rotation) judge() {
	if r.cut == nil || !r.at.Known() || !r.cut.Time.Known() || r.at-r.cut.Until > soon || r.cut.Time-r.at > soon {
		return
	}
	why := "%s was made beside it at the time, as logrotate's copytruncate does: whether that holds what was cut was not compared"
	same := r.content != "" && r.content == r.sum
	if same {
		why = "%s holds what was cut, as logrotate's copytruncate leaves it"
	}
	r.judged = true
	r.cut.Kind, r.cut.Severity, r.cut.Reasons = FindRotation, "info", append(r.cut.Reasons[:1], fmt.Sprintf(why, r.copy))
	if same {
		*r = rotation{at: Unknown} // what comes now is of the next
	}
}
