package files

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// TestChangeJournal: with $UsnJrnl on the volume, each operation that has a name to
// make, take or change shows once, at its own time, whether or not the MFT ever had
// it, and nothing else does.
func TestChangeJournal(t *testing.T) {
	dir := unpack(t, "usnjrnl")
	a, events := replayTrace(t, dir, Options{Hash: true})
	dump(t, events)
	require.Empty(t, a.Problems())
	left := slices.Clone(events)
	alone := 0
	for _, o := range readOps(t, dir) {
		op, ok := map[string]Op{"create": OpCreate, "mkdir": OpMkdir, "rename": OpRename, "unlink": OpDelete, "rmdir": OpRmdir}[o.Op]
		if !ok {
			continue
		}
		path, old := "/"+o.Path, ""
		if op == OpRename {
			path, old = "/"+o.Dst, "/"+o.Src
		}
		k := slices.IndexFunc(left, func(e Event) bool {
			same := e.Op == op || op == OpDelete && e.Op == OpUnlink
			return same && e.Path == path && e.OldPath == old && int64(e.TimeLower) >= o.T0-1e6 && int64(e.TimeUpper) <= o.T1+1e6
		})
		if k < 0 {
			t.Errorf("no event for %+v", o)
			continue
		}
		require.Equal(t, BasisUSN, left[k].TimeBasis, "%+v", left[k])
		require.NotEmpty(t, left[k].Reason)
		if len(left[k].Notes) > 0 && left[k].Size == nil {
			alone++
		}
		left = slices.Delete(left, k, k+1)
	}
	require.Greater(t, alone, 60, "files that the MFT never showed")
	for _, e := range left {
		if slices.Contains([]Op{OpCreate, OpMkdir, OpRename, OpDelete, OpRmdir, OpUnlink}, e.Op) {
			b, _ := json.Marshal(e)
			t.Errorf("nothing caused %s", b)
		}
	}
}

// late feeds a trace with the writes that hold the journal, or all others, kept back
// until the mark after the next.
func late(t *testing.T, dir string, journal bool) []Event {
	a, log := openTrace(t, dir, Options{Hash: true})
	var events []Event
	var held [2][]*format.DiskRequest
	count := 0
	eachEntry(t, log, func(r format.Record) {
		if w, ok := r.(*format.DiskRequest); ok && w.Op == format.DiskWrite && holdsRecords(w.Data) == journal {
			c := *w
			c.Data = bytes.Clone(w.Data)
			held[1] = append(held[1], &c)
			count++
			return
		}
		require.NoError(t, a.Feed(r))
		if m, ok := r.(*format.Mark); ok {
			for _, w := range held[0] {
				w.Stamp = m.Stamp
				require.NoError(t, a.Feed(w))
			}
			held[0], held[1] = held[1], nil
		}
		events = append(events, a.Events()...)
	})
	for _, w := range append(held[0], held[1]...) {
		require.NoError(t, a.Feed(w))
	}
	require.NoError(t, a.Finish())
	require.NotZero(t, count)
	return append(events, a.Events()...)
}

// holdsRecords: a page of the change journal begins with a record of version 2, 3 or 4.
func holdsRecords(b []byte) bool {
	n, major := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	return n >= 64 && n < 600 && n%8 == 0 && major >= 2 && major <= 4
}

// TestChangeJournalLate: whichever reaches the disk first, an operation is told once.
func TestChangeJournalLate(t *testing.T) {
	dir := unpack(t, "usnjrnl")
	_, want := replayTrace(t, dir, Options{Hash: true})
	for _, journal := range []bool{true, false} {
		got := late(t, dir, journal)
		require.Equal(t, births(want), births(got), "journal late: %v", journal)
	}
}

// births counts the creations and ends of each file; a later name may be all that
// was seen of it.
func births(events []Event) map[object]int {
	out := map[object]int{}
	for _, e := range events {
		if slices.Contains([]Op{OpCreate, OpMkdir, OpDelete, OpRmdir}, e.Op) {
			out[object{e.Inode, e.Generation}]++
		}
	}
	return out
}
