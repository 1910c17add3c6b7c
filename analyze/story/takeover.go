package story

import (
	"fmt"
	"strings"

	"github.com/xentape/xentape/analyze/files"
	"github.com/xentape/xentape/analyze/process"
)

// fileEventOf takes over a change. Where its interval rests on the inode's times,
// which are the guest's, it is moved to the recording host's clock.
func fileEventOf(ev *files.Event, clock *GuestClock) FileEvent {
	ahead := int64(0)
	if clock != nil && (ev.TimeBasis == files.BasisBirth || ev.TimeBasis == files.BasisChange || ev.TimeBasis == files.BasisModify || ev.TimeBasis == files.BasisUSN) {
		ahead = clock.Ahead
	}
	f := FileEvent{Op: string(ev.Op), Path: ev.Path, OldPath: ev.OldPath, Type: ev.Type, Inode: ev.Inode, Disk: ev.Disk, Filesystem: ev.Filesystem,
		SHA256Old: ev.SHA256Old, SHA256New: ev.SHA256New, Basis: ev.TimeBasis, First: ev.FirstRecord, Last: ev.LastRecord, Volume: ev.Volume, SizeOld: ev.SizeOld, Shown: ev.Shown, Blocks: ev.Blocks}
	f.Added, f.Removed = changedLines(ev.Diff)
	if ev.Size != nil {
		f.Size = *ev.Size
	}
	if ev.Mode.Set {
		f.Mode = uint32(ev.Mode.Bits)
	}
	if ev.UID != nil {
		f.UID = *ev.UID
	}
	if ev.GID != nil {
		f.GID = *ev.GID
	}
	if ev.TimeLower.Known() {
		f.Lower = int64(ev.TimeLower) - ahead
	}
	if ev.TimeUpper.Known() {
		f.Upper = int64(ev.TimeUpper) - ahead
	}
	return f
}

// changedLines takes the new and the removed lines out of a unified diff.
func changedLines(diff string) (added, removed []string) {
	for line := range strings.Lines(diff) {
		switch text := strings.TrimRight(line[1:], "\n"); {
		case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"):
		case line[0] == '+':
			added = append(added, text)
		case line[0] == '-':
			removed = append(removed, text)
		}
	}
	return added, removed
}

// oddities takes over what the analyzers found by themselves.
func (e *Engine) oddities(in *Input) {
	for _, f := range e.procs.Findings() {
		o := Oddity{Rule: f.Kind, Severity: "low", Summary: f.Summary, PID: f.PID, Start: f.StartTime, Task: f.TaskAddress, File: -1, Fields: map[string]any{"grade": string(f.Grade), "module": f.Module}}
		if f.Grade == process.Hidden {
			o.Severity = "critical"
		}
		for i, n := range f.Snapshots {
			if i < len(f.Records) {
				o.Evidence = append(o.Evidence, Evidence{Stream: "memory", Records: f.Records[i][:], Detail: fmt.Sprintf("snapshot #%d", n)})
			}
		}
		if s := snapshotNumber(in.Snapshots, f.Snapshots); s != nil {
			o.At = s.Realtime
		}
		for _, v := range f.Evidence {
			o.Evidence = append(o.Evidence, Evidence{Stream: "memory", Detail: fmt.Sprintf("%s at %#x (physical %#x)", v.Object, uint64(v.Virtual), uint64(v.Physical))})
		}
		in.Oddities = append(in.Oddities, o)
	}
	type file struct {
		disk, path string
		inode      uint64
	}
	latest := map[file]int{}
	for i := range in.Files {
		f := &in.Files[i]
		latest[file{f.Disk, f.Path, f.Inode}] = i
	}
	for _, id := range e.order {
		if e.disks[id].copying() {
			continue
		}
		for _, f := range e.disks[id].a.Findings() {
			o := Oddity{Rule: f.Kind, Severity: f.Severity, Summary: summaryOf(&f), Path: f.Path, Detail: fmt.Sprint(f.Inode, int64(f.Time)), Why: strings.Join(f.Reasons, "; "), File: -1}
			if f.Time.Known() {
				o.At = int64(f.Time)
				if e.clock != nil {
					o.At -= e.clock.Ahead
				}
			}
			o.Evidence = []Evidence{{Stream: f.Disk, Records: f.Records}}
			if i, ok := latest[file{f.Disk, f.Path, f.Inode}]; ok {
				o.File = i
			}
			in.Oddities = append(in.Oddities, o)
		}
	}
}

func snapshotNumber(snaps []Snapshot, numbers []int) *Snapshot {
	for i := range snaps {
		for _, n := range numbers {
			if snaps[i].Number == n {
				return &snaps[i]
			}
		}
	}
	return nil
}

// summaryOf says what a finding of the file analyzer is about.
func summaryOf(f *files.Finding) string {
	switch {
	case f.Count > 1 && len(f.Paths) > 0:
		return fmt.Sprintf("%d files of %s, %s the first", f.Count, f.Volume, f.Paths[0])
	case f.Count > 1:
		return fmt.Sprintf("%d files of %s", f.Count, f.Volume)
	}
	return f.Path
}
