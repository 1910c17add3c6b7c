package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xentape/xentape/corpus/lab/truth"
)

// fileEvent is what the comparison needs of a line of xentape files.
type fileEvent struct {
	Op        string     `json:"op"`
	Path      string     `json:"path"`
	OldPath   string     `json:"old_path"`
	Type      string     `json:"type"`
	Inode     uint64     `json:"inode"`
	Size      uint64     `json:"size"`
	Mode      string     `json:"mode"`
	Target    string     `json:"target"`
	SHA256Old string     `json:"sha256_old"`
	SHA256New string     `json:"sha256_new"`
	MTime     *time.Time `json:"mtime"`
	Ranges    []struct {
		Length uint64 `json:"length"`
	} `json:"ranges"`
	Lower *time.Time `json:"time_lower"`
	Upper *time.Time `json:"time_upper"`
}

func (e fileEvent) String() string {
	return fmt.Sprintf("%s %s (inode %d, %s to %s)", e.Op, e.Path, e.Inode, clock(e.Lower), clock(e.Upper))
}

func clock(t *time.Time) string {
	if t == nil {
		return "?"
	}
	return t.UTC().Format("15:04:05.000")
}

// step is one thing the intruder did to a file: a look before, a look after.
type step struct {
	op, path, old string
	from, to      time.Time
	before, after *truth.FileState
	beforeOld     *truth.FileState // of a rename: what the old path was
	// The file system's count of commits at either look; empty where it is not known.
	commitsBefore, commitsAfter string
}

// steps pairs the notes before and after.
func (t *record) steps() []step {
	before := make(map[string]truth.FileNote)
	var out []step
	for _, n := range t.notes {
		if n.When == "before" {
			before[n.Path] = n
			continue
		}
		b := before[n.Path]
		s := step{op: n.Op, path: n.Path, old: n.OldPath, to: n.Time, after: n.State, before: b.State, from: b.Time,
			commitsBefore: b.Commits, commitsAfter: n.Commits}
		if n.OldPath != "" {
			s.beforeOld = before[n.OldPath].State
		}
		out = append(out, s)
	}
	return out
}

// opsFor are the events that tell a step. A content written over goes to disk
// as a cut and a write; both count as telling it.
var opsFor = map[string][]string{
	"create": {"create"}, "delete": {"delete", "unlink"}, "unlink": {"unlink"},
	"write": {"write", "truncate"}, "truncate": {"truncate", "write"}, "rename": {"rename"},
	"link": {"link"}, "symlink": {"symlink", "create"}, "mkdir": {"mkdir", "create"},
	"chmod": {"chmod", "create"}, "chown": {"chown"}, "utime": {"utime"},
}

// compareSteps finds the event for everything the intruder did.
func compareSteps(t *record, events []fileEvent, gs gaps) *report {
	r := &report{name: "the intruder's file steps"}
	for _, s := range t.steps() {
		if !t.between(s.to) {
			continue
		}
		var reasons []string
		found, unwritten := false, false
		for _, e := range events {
			if e.Path != s.path || !slices.Contains(opsFor[s.op], e.Op) {
				continue
			}
			wrong, content := s.wrong(e), s.wrongContent(e, events)
			unwritten = unwritten || len(wrong) == 0 && e.Op == "create" && s.after != nil && s.written(events) < uint64(s.after.Size)
			if wrong = append(wrong, content...); len(wrong) == 0 {
				found = true
				break
			}
			reasons = append(reasons, fmt.Sprintf("%v: %s", e, strings.Join(wrong, ", ")))
		}
		if found {
			r.matched++
			continue
		}
		text := fmt.Sprintf("%s %s at %s: no such event", s.op, s.path, clock(&s.to))
		if reasons != nil {
			text = fmt.Sprintf("%s %s at %s: %s", s.op, s.path, clock(&s.to), strings.Join(reasons, " | "))
		}
		if g, ok := gs.during("disk", s.from, t.points[len(t.points)-1].Time); ok {
			r.explain("%s: %s", text, g.text)
		} else if unwritten && t.soonGone(s) {
			r.explain("%s: it was deleted before all of its content went to disk", text)
		} else if t.neverCommitted(s) {
			r.explain("%s: it was made and removed between two commits of the file system", text)
		} else {
			r.differ("%s", text)
		}
	}
	return r
}

// dirtyExpire is how long content stays in memory before the kernel writes it to
// disk by itself: vm.dirty_expire_centisecs, 30 s on Debian.
const dirtyExpire = 30 * time.Second

// soonGone reports whether a later step deleted the file within that time. A file
// system that allocates late (ext4, xfs, btrfs) then never writes its content, or not
// all of it.
func (t *record) soonGone(made step) bool {
	return slices.ContainsFunc(t.steps(), func(s step) bool {
		return s.path == made.path && s.after == nil && s.to.After(made.to) && s.to.Before(made.to.Add(dirtyExpire))
	})
}

// neverCommitted reports whether the step is one in the life of a file that was made
// and removed while the file system committed nothing, by its own count: the disk never
// heard of it, and no reader of a disk can.
func (t *record) neverCommitted(s step) bool {
	steps := t.steps()
	made, gone := -1, -1
	for i, o := range steps {
		switch {
		case o.path != s.path:
		case o.before == nil && o.after != nil && !o.to.After(s.to):
			made, gone = i, -1
		case o.after == nil && made >= 0 && gone < 0 && !o.to.Before(s.to):
			gone = i
		}
	}
	return made >= 0 && gone >= 0 && steps[made].commitsBefore != "" && steps[made].commitsBefore == steps[gone].commitsAfter
}

// tickSlack covers the coarse clock of inode times: a jiffy, 4 ms on Debian.
const tickSlack = 10 * time.Millisecond

// wrong says in what an event does not tell the step.
func (s step) wrong(e fileEvent) []string {
	var wrong []string
	state := s.after
	if state == nil {
		state = s.before
	}
	if state == nil {
		return []string{"the guest saw no file before or after"}
	}
	if e.Inode != state.Inode {
		wrong = append(wrong, fmt.Sprintf("inode %d, was %d", e.Inode, state.Inode))
	}
	if !s.overlaps(e) && !(s.op == "chmod" && e.Op == "create") {
		wrong = append(wrong, fmt.Sprintf("between %s and %s, was between %s and %s", clock(e.Lower), clock(e.Upper), clock(&s.from), clock(&s.to)))
	}
	if s.op == "rename" && e.OldPath != s.old {
		wrong = append(wrong, fmt.Sprintf("from %s, was %s", e.OldPath, s.old))
	}
	if s.op == "symlink" && e.Target != "" && e.Target != s.after.Target {
		wrong = append(wrong, fmt.Sprintf("to %s, was %s", e.Target, s.after.Target))
	}
	if s.op == "utime" && (e.MTime == nil || !e.MTime.Equal(s.after.Mtime)) {
		wrong = append(wrong, fmt.Sprintf("mtime %v, was %v", e.MTime, s.after.Mtime))
	}
	// A file made and changed within one transaction of the journal comes to
	// disk once, as it then is.
	if mode, err := strconv.ParseUint(e.Mode, 8, 32); s.op == "chmod" && (err != nil || uint32(mode) != s.after.Mode&0o7777) {
		wrong = append(wrong, fmt.Sprintf("mode %s, was %o", e.Mode, s.after.Mode&0o7777))
	}
	return wrong
}

// wrongContent says in what the content before and after a step differs. One
// step may be several events, an emptied file and then what was written: the
// first tells what was there before, the last what is there now.
func (s step) wrongContent(first fileEvent, events []fileEvent) []string {
	if s.op != "create" && s.op != "write" {
		return nil
	}
	var before, after string
	for _, e := range events {
		if e.Path != s.path || e.Inode != first.Inode || !s.overlaps(e) || !slices.Contains([]string{"create", "write", "truncate"}, e.Op) {
			continue
		}
		before, after = cmp.Or(before, e.SHA256Old), cmp.Or(e.SHA256New, after)
	}
	var wrong []string
	if after != s.after.SHA256 {
		wrong = append(wrong, fmt.Sprintf("content %.12s, was %.12s", after, s.after.SHA256))
	}
	if s.op == "write" && s.before != nil && before != s.before.SHA256 {
		wrong = append(wrong, fmt.Sprintf("content before %.12s, was %.12s", before, s.before.SHA256))
	}
	return wrong
}

// written is how many bytes of the file's content the events of the step have, which
// may be more than one of the same bytes.
func (s step) written(events []fileEvent) uint64 {
	var n uint64
	for _, e := range events {
		if e.Path != s.path || e.Inode != s.after.Inode || !s.overlaps(e) || e.SHA256New == "" {
			continue
		}
		if len(e.Ranges) == 0 {
			n += e.Size // all there is at once
		}
		for _, g := range e.Ranges {
			n += g.Length
		}
	}
	return n
}

// overlaps reports whether the event may have happened during the step.
func (s step) overlaps(e fileEvent) bool {
	return (e.Upper == nil || !e.Upper.Before(s.from.Add(-tickSlack))) && (e.Lower == nil || !e.Lower.After(s.to.Add(tickSlack)))
}

// compareTree holds the events of each stretch between two points against
// what changed in the whole root file system meanwhile: every change has an
// event, and every event a change, or a file that came and went.
func compareTree(t *record, events []fileEvent, gs gaps) *report {
	r := &report{name: "changes of the whole tree"}
	for i := 1; i < len(t.points); i++ {
		from, to := t.points[i-1], t.points[i]
		since := from.Began
		if since.IsZero() {
			since = from.Time
		}
		changes := changed(t.manifests[from.Name], t.manifests[to.Name])
		told := make(map[string]bool)
		for _, e := range events {
			// Where a bound is not known, the event may have been at any time on that side.
			if e.Upper == nil && e.Lower == nil || e.Upper != nil && e.Upper.Before(since) || e.Lower != nil && e.Lower.After(to.Time) {
				continue
			}
			told[e.Path] = true
			if e.OldPath != "" {
				told[e.OldPath] = true
			}
			_, real := changes[e.Path]
			inside := e.Lower != nil && e.Lower.After(from.Time.Add(clockSlack)) && e.Upper != nil && e.Upper.Before(to.Time.Add(-clockSlack))
			if !real && inside && e.Type != "dir" && !cameAndWent(e, events) && !t.stepped(e.Path) {
				r.differ("%v between %s and %s: the guest's tree shows no such change", e, from.Name, to.Name)
			}
		}
		for _, path := range sortedPaths(changes) {
			switch g, gap := gs.during("disk", from.Time, to.Time); {
			case told[path]:
				r.matched++
			case gap:
				r.explain("%s %s between %s and %s: %s", changes[path], path, from.Name, to.Name, g.text)
			default:
				r.differ("%s %s between %s and %s: no event tells it", changes[path], path, from.Name, to.Name)
			}
		}
	}
	return r
}

// cameAndWent reports whether the event's path was both made and removed on
// the tape, so that no look at the tree could have seen it.
func cameAndWent(e fileEvent, events []fileEvent) bool {
	made, gone := false, false
	for _, o := range events {
		if o.Inode != e.Inode {
			continue
		}
		made = made || o.Op == "create" || o.Op == "link" || o.Op == "mkdir" || o.Op == "symlink"
		gone = gone || o.Op == "delete" || o.Op == "unlink" || o.Op == "rmdir" || o.Op == "rename"
	}
	return made && gone
}

func (t *record) stepped(path string) bool {
	return slices.ContainsFunc(t.notes, func(n truth.FileNote) bool { return n.Path == path || n.OldPath == path })
}

// changed says of each path of two manifests what became of it. Directories'
// own times and sizes follow from what is in them and are left out.
func changed(before, after []truth.ManifestEntry) map[string]string {
	old := make(map[string]truth.FileState, len(before))
	for _, e := range before {
		old[e.Path] = e.FileState
	}
	const typeMask, directory = 0o170000, 0o040000
	out := make(map[string]string)
	for _, e := range after {
		was, ok := old[e.Path]
		delete(old, e.Path)
		switch {
		case !ok:
			out[e.Path] = "new"
		case was.Inode != e.Inode:
			out[e.Path] = "replaced"
		case was.Mode != e.Mode || was.UID != e.UID || was.GID != e.GID:
			out[e.Path] = "changed attributes of"
		case e.Mode&typeMask != directory && (was.Size != e.Size || !was.Mtime.Equal(e.Mtime)):
			out[e.Path] = "changed"
		case e.Mode&typeMask != directory && was.Links != e.Links:
			// Told under the other name.
		}
	}
	for path := range old {
		out[path] = "removed"
	}
	return out
}

func sortedPaths(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for p := range m {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}
