package files

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
)

// aside is the name that sed -i gives a file while it writes it.
var aside = regexp.MustCompile(`^sed[[:alnum:]]{6}$`)

// isLog recognises where logs and login records are kept.
func isLog(p string) bool {
	base := path.Base(p)
	switch base {
	case "wtmp", "btmp", "utmp", "lastlog", "auth.log", "secure", "syslog", "messages", "kern.log", "audit.log", ".bash_history", ".zsh_history", ".ash_history":
		return true
	}
	return (strings.Contains(p, "/var/log/") || strings.HasPrefix(p, "/log/")) && !strings.HasSuffix(base, ".gz") && !aside.MatchString(base)
}

// logs only grow, and go by being renamed. Anything else is said.
func (f *finder) logged(e *Event) {
	if e.Type != "file" {
		return
	}
	f.rotates(e)
	older := generationOf(e.Path)
	log := cmp.Or(older, e.Path)
	if e.Op == OpDelete && isLog(log) && e.Size != nil && *e.Size > 0 {
		what := "log"
		if older != "" {
			what = "rotated log"
		}
		f.lost(e, log, "medium", *e.Size, fmt.Sprintf("%s of %d bytes removed", what, *e.Size))
		return
	}
	if e.Op == OpRename && isLog(e.OldPath) && older == "" && !isLog(e.Path) {
		f.about(e, FindLog, "medium", "log moved away: it was "+e.OldPath)
	}
	if !isLog(e.Path) {
		return
	}
	switch e.Op {
	case OpTruncate:
		if e.SizeOld != nil && e.Size != nil && *e.Size < *e.SizeOld {
			f.lost(e, log, "high", *e.SizeOld, fmt.Sprintf("log cut from %d to %d bytes in place", *e.SizeOld, *e.Size))
		}
	case OpWrite, OpRename, OpCreate:
		if e.Op == OpRename && isLog(e.OldPath) && older != "" {
			return // by which logs go
		}
		removed, added := changedLines(e.Diff)
		switch {
		case removed > 0 && e.replaced():
			f.about(e, FindLog, "high", fmt.Sprintf("log replaced by a version without %d of its lines (%d new)", removed, added))
		case removed > 1:
			f.about(e, FindLog, "high", fmt.Sprintf("%d lines of the log rewritten or removed (%d new)", removed, added))
		case e.Op == OpWrite && e.Size != nil && e.SizeOld != nil && *e.Size < *e.SizeOld:
			f.about(e, FindLog, "high", fmt.Sprintf("log shortened from %d to %d bytes", *e.SizeOld, *e.Size))
		case e.Op == OpWrite && e.writtenOver():
			f.about(e, FindLog, "high", fmt.Sprintf("what the log held was written over: its first %d bytes are others now", e.sizeWas))
		}
	}
}

// inPlace are files among the logs that are not written at their end alone: records by
// user number, and what maps them into memory.
var inPlace = regexp.MustCompile(`^(lastlog|faillog|tallylog|utmp)$|\.(journal~?|db|sqlite)(-wal|-shm)?$`)

// writtenOver reports whether a log does not begin with what it held before. What blocks
// held before they were the log's is none of it: without a journal that is not known, and
// of records that hold zeros it is not known what of them was there.
func (e *Event) writtenOver() bool {
	if e.SHA256Old == "" || e.SHA256New == e.SHA256Old || !e.whole || e.Shown || e.vol == nil || e.vol.info.Apart || inPlace.MatchString(path.Base(e.Path)) {
		return false
	}
	content, err := e.vol.fs.Content(e.id)
	if err != nil {
		return false
	}
	sum, _, err := hashUnpacked(io.NewSectionReader(content, 0, int64(content.Size())), "", e.sizeWas)
	return err == nil && sum != e.SHA256Old
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
