package story

import (
	"fmt"
	"slices"
	"strings"

	"github.com/xentape/xentape/analyze/internal/sigma"
)

func (j *joiner) files(s *Story, rules []*sigma.Rule) {
	m := merger{s: s, last: map[string]int{}}
	for i := range j.in.Files {
		f := &j.in.Files[i]
		it := j.change(i)
		s.add(it)
		e := j.fileEvent(i)
		for _, r := range rules {
			if r.Category == "file_event" && r.Match(e) {
				fi := finding(r, fileText(f), it.Evidence)
				fi.key, fi.at, fi.upper, fi.TimeBasis, fi.Process, fi.File = f.key(), f.Lower, f.Upper, f.Basis, it.Process, it.File
				fi.proc, fi.files, fi.conns = it.proc, []int{i}, it.conns
				m.add(r, f, fi)
				j.told[f.file()] = true
			}
		}
	}
}

// change is the item of a file event.
func (j *joiner) change(i int) Item {
	f := &j.in.Files[i]
	o := j.writers[i]
	ev := []Evidence{{Stream: f.Disk, Records: records(f.First, f.Last)}}
	if o != nil {
		ev = append(ev, o.Evidence...)
	}
	ev = append(ev, f.Cached...)
	ref := &FileRef{Op: f.Op, Path: f.Path, OldPath: f.OldPath, Disk: f.Disk, Inode: f.Inode, SHA256: f.SHA256New}
	var conns []int
	for _, c := range slices.Concat(j.cameFrom[i], j.wentOut[i]) {
		if k, ok := j.connByID[c.t.UID]; ok {
			conns = append(conns, k)
		}
		ev = append(ev, j.carriedEvidence(&c))
	}
	if cs := j.cameFrom[i]; len(cs) > 0 {
		ref.FromConn, ref.FromURL, ref.FromBlocks, ref.Blocks = cs[0].t.UID, cs[0].t.URL, cs[0].blocks, cs[0].of
	}
	if cs := j.wentOut[i]; len(cs) > 0 {
		ref.ToConn, ref.ToURL = cs[0].t.UID, cs[0].t.URL
	}
	return Item{key: f.key(), at: f.Lower, upper: f.Upper, TimeBasis: f.Basis, rank: rankFile, Kind: KindFile, Process: o, File: ref, proc: ownerKey(o), files: []int{i}, conns: conns,
		Summary: j.fileSummary(i), Evidence: ev}
}

// file tells files apart: the same inode at the same path.
func (f *FileEvent) file() string {
	return fmt.Sprint(f.Disk, " ", f.Volume, " ", f.Inode, "\x00", f.Path)
}

// onDevice: the event may be of a file that the guest's kernel has on a device of
// that name. What a logical volume is called there is not known.
func (f *FileEvent) onDevice(name string) bool {
	return f.Volume == "" || f.Volume == name || strings.Contains(f.Volume, "/")
}

// merger makes one finding of what is one fact: a file is created, then written,
// and both are what a rule looks for.
type merger struct {
	s    *Story
	last map[string]int // rule and file → index of its latest finding
}

// mergeWithin is how far apart two changes of one file may be, ns.
const mergeWithin = int64(60e9)

func (m *merger) add(r *sigma.Rule, f *FileEvent, it Item) {
	k := r.ID + "\x00" + f.file()
	if i, ok := m.last[k]; ok {
		old := &m.s.Items[i]
		if it.at <= max(old.upper, old.at)+mergeWithin {
			old.take(r, f, &it)
			return
		}
	}
	m.last[k] = len(m.s.Items)
	m.s.add(it)
}

// take adds a later change of the same file to a finding.
func (it *Item) take(r *sigma.Rule, f *FileEvent, more *Item) {
	if !slices.Contains(it.ops, f.Op) {
		it.ops = append(it.ops, f.Op)
	}
	it.Summary = r.Title + ": " + strings.Join(it.ops, ", ") + " " + f.Path
	it.upper = max(it.upper, more.upper, more.at)
	it.stamp()
	if it.Process == nil {
		it.Process, it.proc = more.Process, more.proc
	}
	it.File = more.File
	it.files = append(it.files, more.files...)
	it.conns = append(it.conns, more.conns...)
	for _, e := range more.Evidence {
		if len(it.Evidence) < 4*maxCarried {
			it.Evidence = append(it.Evidence, e)
		}
	}
}

// key tells file events apart: two of one record differ in what or where.
func (f *FileEvent) key() string {
	return fmt.Sprint(f.Disk, f.First, f.Last, f.Op, f.Inode, f.OldPath, "\x00", f.Path)
}

func fileText(f *FileEvent) string {
	if f.OldPath != "" {
		return fmt.Sprintf("%s %s → %s", f.Op, f.OldPath, f.Path)
	}
	return f.Op + " " + f.Path
}

func (j *joiner) fileSummary(i int) string {
	f := &j.in.Files[i]
	t := fileText(f)
	if f.Type == "file" && (f.Op == "create" || f.Op == "write" || f.Op == "truncate") {
		t += fmt.Sprintf(", %d bytes", f.Size)
	}
	if cs := j.cameFrom[i]; len(cs) > 0 {
		t += ", " + cs[0].text()
	}
	if cs := j.wentOut[i]; len(cs) > 0 {
		t += ", " + cs[0].text()
	}
	if o := j.writers[i]; o != nil {
		t += o.text()
	}
	return t
}
