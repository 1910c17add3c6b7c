package files

import (
	"errors"
	"slices"
	"strings"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Version is what lay at a path from one change on until the next.
type Version struct {
	Entry
	// Op is the change that brought it; "base" for what was there when the
	// recording began, and for a path that is gone the change that took it.
	Op      Op   `json:"op"`
	Present bool `json:"present"` // false: nothing lies at the path any more

	TimeLower   Time   `json:"time_lower"`
	TimeUpper   Time   `json:"time_upper"`
	TimeBasis   string `json:"time_basis,omitempty"`
	FirstRecord uint64 `json:"first_record,omitempty"`
	LastRecord  uint64 `json:"last_record,omitempty"`
}

// OpBase stands for what was there when the recording began.
const OpBase Op = "base"

// History keeps the versions of the paths it is told to watch.
type History struct {
	a    *Analyzer
	want func(path string) bool
	last map[versionKey]Version
}

type versionKey struct{ volume, path string }

// NewHistory watches the paths want accepts. Options.Hash must be set, Emit must
// not: after every Feed the caller hands the events to See. Hashes tell content
// that appears without being written: ext4 converts an extent once its data is
// there, in an inode update of its own.
func NewHistory(a *Analyzer, want func(path string) bool) *History {
	return &History{a: a, want: want, last: map[versionKey]Version{}}
}

// Base gives the versions there are before anything is fed, sorted by path.
func (h *History) Base() ([]Version, error) {
	var out []Version
	t := h.a.State()
	for _, name := range t.Volumes() {
		err := t.Walk(name, func(f File) error {
			if h.want(f.Path) {
				v := Version{Entry: t.entry(&f, true), Op: OpBase, Present: true, TimeLower: Unknown, TimeUpper: Unknown}
				h.last[versionKey{name, f.Path}] = v
				out = append(out, v)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// See takes the events of one Feed and gives the versions they made, in order.
// Several events of one transaction make one version: what stood between them
// never reached the disk.
func (h *History) See(events []Event) []Version {
	var keys []versionKey
	by, op := map[versionKey]*Event{}, map[versionKey]Op{}
	note := func(k versionKey, e *Event) {
		if by[k] == nil {
			keys, op[k] = append(keys, k), e.Op // of create and write, say create
		}
		by[k] = e
	}
	for i := range events {
		e := &events[i]
		for _, p := range []string{e.OldPath, e.Path} {
			if p != "" && h.want(p) {
				note(versionKey{e.Volume, p}, e)
			}
		}
		if e.Op == OpRename && e.Type == fs.TypeDir.String() {
			h.moved(e, note)
		}
	}
	var out []Version
	t := h.a.followed()
	for _, k := range keys {
		if v, ok := h.version(t, k, by[k]); ok {
			if v.Present {
				v.Op = op[k]
			}
			out = append(out, v)
		}
	}
	return out
}

// moved notes the paths that came and went with a directory.
func (h *History) moved(e *Event, note func(versionKey, *Event)) {
	var gone []versionKey
	for k, v := range h.last {
		if k.volume == e.Volume && v.Present && strings.HasPrefix(k.path, e.OldPath+"/") {
			gone = append(gone, k)
		}
	}
	slices.SortFunc(gone, func(a, b versionKey) int { return strings.Compare(a.path, b.path) })
	for _, k := range gone {
		note(k, e)
		if to := (versionKey{e.Volume, e.Path + strings.TrimPrefix(k.path, e.OldPath)}); h.want(to.path) {
			note(to, e)
		}
	}
}

func (h *History) version(t *Tree, k versionKey, e *Event) (Version, bool) {
	v := Version{Op: e.Op, TimeLower: e.TimeLower, TimeUpper: e.TimeUpper, TimeBasis: e.TimeBasis, FirstRecord: e.FirstRecord, LastRecord: e.LastRecord}
	f, err := t.Lookup(k.volume, k.path)
	switch {
	case err == nil:
		v.Entry, v.Present = t.entry(&f, true), true
	case errors.Is(err, ErrNoFile):
		v.Entry = Entry{Path: k.path, PathHex: hexOf(k.path), Volume: k.volume, Disk: e.Disk, Filesystem: e.Filesystem, UUID: e.UUID,
			ATime: Unknown, MTime: Unknown, CTime: Unknown, BTime: Unknown}
	default:
		v.Entry = Entry{Path: k.path, PathHex: hexOf(k.path), Volume: k.volume, Disk: e.Disk, Filesystem: e.Filesystem, UUID: e.UUID, Unknown: err.Error(),
			ATime: Unknown, MTime: Unknown, CTime: Unknown, BTime: Unknown}
	}
	old, had := h.last[k]
	if !had && !v.Present && v.Unknown == "" {
		// Made and gone within one transaction, or never seen with a name.
		if e.Op != OpDelete && e.Op != OpUnlink && e.Op != OpRmdir {
			return v, false
		}
	}
	h.last[k] = v
	return v, !had || !sameVersion(&old, &v)
}

// sameVersion compares what a user of the path would notice.
func sameVersion(a, b *Version) bool {
	return a.Present == b.Present && a.SHA256 == b.SHA256 && a.Inode == b.Inode && a.Size == b.Size && a.Mode == b.Mode &&
		a.UID == b.UID && a.GID == b.GID && a.Type == b.Type && a.Target == b.Target && a.MTime == b.MTime && a.Unknown == b.Unknown
}
