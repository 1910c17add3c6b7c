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
