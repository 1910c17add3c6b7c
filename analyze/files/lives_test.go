package files

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// TestContentDestroyedBeforeTheFile: written over with noise once where something
// readable was, or twice with anything that hides it, and then deleted.
func TestContentDestroyedBeforeTheFile(t *testing.T) {
	const noise, text, zeros = 7.99, 4.4, 0.0
	for name, c := range map[string]struct {
		old, written []float64
		found        bool
	}{
		"noise over text":     {[]float64{text}, []float64{noise}, true},
		"noise over noise":    {[]float64{noise}, []float64{noise}, false},
		"zeros over text":     {[]float64{text}, []float64{zeros}, false},
		"zeros, then zeros":   {[]float64{text, zeros}, []float64{zeros, zeros}, true},
		"text over text":      {[]float64{text}, []float64{text}, false},
		"nothing written":     {nil, nil, false},
		"noise, then zeros":   {[]float64{noise, noise}, []float64{noise, zeros}, true},
		"old is not readable": {[]float64{7.5}, []float64{noise}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f, l, size := newFinder(&Analyzer{}), newLife(), uint64(16384)
			for i := range c.written {
				f.lives(&Event{Op: OpWrite, Type: "file", Path: "/var/log/x", Size: &size, SHA256Old: "aa", EntropyOld: &c.old[i], EntropyNew: &c.written[i],
					Ranges: []Range{{Len: size}}}, l)
			}
			f.lives(&Event{Op: OpDelete, Type: "file", Path: "/var/log/x"}, l)
			kinds := []string{}
			for _, g := range f.list {
				kinds = append(kinds, g.Kind)
			}
			require.Equal(t, c.found, len(kinds) == 1 && kinds[0] == FindShred, kinds)
		})
	}
}

// TestWhatBoundsTheNext: a file synced by itself, or a write below the journal, says
// nothing of what else was done until then.
func TestWhatBoundsTheNext(t *testing.T) {
	const second = int64(1e9)
	for _, c := range []struct {
		basis    fs.Basis
		lag      int64
		last     int64
		previous int64
	}{
		{fs.BasisCommit, 0, 110, 103}, {fs.BasisFastCommit, 0, 110, 103},
		{fs.BasisTreeLog, 0, 103, 100}, {fs.BasisWrite, 0, 103, 100}, {fs.BasisWrite, 30, 110, 103},
	} {
		v := &volumeState{a: &Analyzer{}, previous: 100 * second, last: 103 * second, lastOK: true}
		v.info.Lag = c.lag * second
		v.Commit(&fs.Tx{Basis: c.basis, Time: 110 * second})
		require.Equal(t, [2]int64{c.previous * second, c.last * second}, [2]int64{v.previous, v.last}, "%+v", c)
	}
}

// TestDeletedAndReusedWithinATransaction: the number's new owner does not date the
// old one's end, it only bounds it.
func TestDeletedAndReusedWithinATransaction(t *testing.T) {
	const second = int64(1e9)
	v := &volumeState{previous: 100 * second, last: 103 * second, lastOK: true}
	for name, c := range map[string]struct {
		new          fs.Attr
		lower, upper int64
		basis        string
	}{
		"free":   {fs.Attr{Generation: 1, CTime: 103 * second, BTime: fs.NoTime}, 103 * second, 103*second + tick, BasisChange},
		"reused": {fs.Attr{Live: true, Generation: 2, CTime: 105 * second, BTime: 104 * second}, 100 * second, 104*second + tick, BasisCommit},
		"reused, and its birth set to another time": {fs.Attr{Live: true, Generation: 2, CTime: 105 * second, BTime: 4 * second}, 100 * second, 110 * second, BasisCommit},
	} {
		t.Run(name, func(t *testing.T) {
			id := fs.ID{Num: 7}
			k := v.classify(&fs.Tx{Basis: fs.BasisCommit, Time: 110 * second})
			k.inodes[id] = &fs.InodeChange{ID: id, Old: fs.Attr{Live: true, Generation: 1}, New: c.new}
			e := &Event{Op: OpDelete, id: id}
			k.interval(e)
			require.Equal(t, [3]any{Time(c.lower), Time(c.upper), c.basis}, [3]any{e.TimeLower, e.TimeUpper, e.TimeBasis})
		})
	}
}

// TestLastOfSeveralNames: of several names that an inode got or lost in a transaction none
// came or went after its change time, where nothing but these set it.
func TestLastOfSeveralNames(t *testing.T) {
	const second = int64(1e9)
	for _, c := range []struct {
		kind      string
		journaled bool
		op        Op
		ctime     int64
		upper     int64
	}{
		{"ext4", true, OpUnlink, 105 * second, 105*second + tick},
		{"btrfs", true, OpLink, 105 * second, 105*second + tick},
		{"ext4", true, OpRename, 109*second + second - 1, 110 * second}, // the commit is before the tick ends
		{"ext4", true, OpUnlink, 90 * second, 110 * second},             // set by another clock
		{"ext4", true, OpUnlink, 120 * second, 110 * second},
		{"xfs", true, OpRename, 105 * second, 110 * second},
		{"ntfs", false, OpUnlink, 105 * second, 110 * second},
	} {
		v := &volumeState{previous: 100 * second, last: 103 * second, lastOK: true}
		v.info.Type, v.info.Journaled = c.kind, c.journaled
		id := fs.ID{Num: 7}
		k := v.classify(&fs.Tx{Basis: fs.BasisCommit, Time: 110 * second})
		k.inodes[id] = &fs.InodeChange{ID: id, Old: fs.Attr{Live: true, CTime: 50 * second}, New: fs.Attr{Live: true, CTime: c.ctime}}
		k.names[id] = 2
		e := &Event{Op: c.op, id: id}
		k.interval(e)
		require.Equal(t, [3]any{Time(100 * second), Time(c.upper), BasisCommit}, [3]any{e.TimeLower, e.TimeUpper, e.TimeBasis}, "%+v", c)
	}
}

// TestProgramsThatLastedMoments: one that is gone with its content, wherever it was. A
// package installed again puts the same in its place, perhaps a while after.
func TestProgramsThatLastedMoments(t *testing.T) {
	program, other := []byte("\x7fELF program"), []byte("\x7fELF another")
	dies := func(d *heldDisk, path string) []Event {
		e := func(op Op, at Time) Event {
			return of(op, at, func(e *Event) {
				e.vol, e.Path, e.Mode.Bits, e.BTime = d.vol, path, 0o755, now
				e.MagicNew = "elf"
				if op == OpDelete {
					e.SHA256Old = hashOf(program)
				}
			})
		}
		return []Event{e(OpCreate, 0), e(OpWrite, 0), e(OpDelete, 5*second)}
	}
	for what, c := range map[string]struct {
		path  string
		files map[string]uint64
		held  map[uint64][]byte
		want  string
	}{
		"among libraries":             {"/usr/lib/x86_64-linux-gnu/libx.so", nil, nil, "high"},
		"of a user":                   {"/home/u/bin/run", nil, nil, "high"},
		"the same in its place":       {"/usr/bin/hello", map[string]uint64{"/usr/bin/hello": 9}, map[uint64][]byte{9: program}, "info"},
		"as dpkg keeps it":            {"/usr/bin/hello.dpkg-tmp", map[string]uint64{"/usr/bin/hello": 9}, map[uint64][]byte{9: program}, "info"},
		"as dpkg keeps it, no longer": {"/usr/bin/hello.dpkg-tmp", nil, nil, "high"},
		"another in its place":        {"/usr/bin/hello", map[string]uint64{"/usr/bin/hello": 9}, map[uint64][]byte{9: other}, "high"},
		"the same elsewhere":          {"/usr/bin/hello", map[string]uint64{"/usr/bin/x": 9}, map[uint64][]byte{9: program}, "high"},
		"the same, in an odd place":   {"/tmp/x", map[string]uint64{"/tmp/x": 9}, map[uint64][]byte{9: program}, "high"},
		"the same, and hidden":        {"/usr/bin/.x", map[string]uint64{"/usr/bin/.x": 9}, map[uint64][]byte{9: program}, "high"},
	} {
		d := newHeldDisk()
		d.lists(c.files)
		a := &Analyzer{}
		a.findings, d.vol.last = newFinder(a), int64(now+6*second)
		for n, b := range c.held {
			d.files[n] = b[:1] // the rest is still to come
		}
		severity := func() (s string) {
			for _, g := range a.Findings() {
				if g.Kind == FindDropper {
					s += g.Severity
				}
			}
			return s
		}
		for _, e := range dies(d, c.path) {
			e.Type = "file"
			a.findings.see(&e)
		}
		require.Equal(t, "high", severity(), what)
		for n, b := range c.held {
			d.files[n] = b
		}
		require.Equal(t, c.want, severity(), what)
	}
}

// TestPackagesInstalledAgain: another program is in the place of one that lasted moments,
// and dpkg wrote down what is installed.
func TestPackagesInstalledAgain(t *testing.T) {
	for what, c := range map[string]struct {
		status Time // when dpkg did
		mode   uint16
		want   string
	}{
		"soon":          {30 * second, 0o755, "info"},
		"just before":   {-30 * second, 0o755, "info"},
		"another time":  {600 * second, 0o755, "high"},
		"no program":    {30 * second, 0o644, "high"},
		"nothing there": {30 * second, 0, "high"},
	} {
		d, a := newHeldDisk(), &Analyzer{}
		a.findings, d.vol.last = newFinder(a), int64(now+6*second)
		if c.mode != 0 {
			d.lists(map[string]uint64{"/usr/bin/x": 9})
			d.files[9], d.mode = []byte("#!/bin/sh\n"), c.mode
		} else {
			d.lists(nil)
		}
		at := func(op Op, at Time) Event {
			return of(op, at, func(e *Event) { e.vol, e.Mode.Bits, e.BTime = d.vol, 0o755, now })
		}
		status := of(OpRename, c.status, func(e *Event) { e.Path, e.OldPath = "/var/lib/dpkg/status", "/var/lib/dpkg/status-new" })
		for _, e := range []Event{at(OpCreate, 0), at(OpDelete, 5*second), status} {
			e.Type = "file"
			a.findings.see(&e)
		}
		require.Equal(t, FindDropper+" "+c.want, a.Findings()[0].Kind+" "+a.Findings()[0].Severity, what)
	}
}

// TestNamesThatCameAndWent: where programs are, or what runs again, few do that.
func TestNamesThatCameAndWent(t *testing.T) {
	for path, want := range map[string]string{"/tmp": "info", "/home/u/docs": "info", "/var/lib/apt/lists/partial": "info", "/usr/lib/x86_64-linux-gnu": "low",
		"/usr/bin": "low", "/etc/cron.d": "low", "/etc": "info"} {
		d := newHeldDisk()
		d.lists(map[string]uint64{path: 7})
		f := newFinder(d.vol.a)
		f.transient(d.vol, &fs.InodeChange{ID: fs.ID{Num: 7}}, &fs.Tx{})
		require.Equal(t, "transient-entries "+want, f.list[0].Kind+" "+f.list[0].Severity, path)
	}
}
