package files

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// copiedBase is what a copy holds that was taken while the guest ran: every other
// block as it was at the beginning, the rest as they were at the end.
type copiedBase struct {
	format.Image
	end *laterBase
}

func (b *copiedBase) ReadPage(n uint64, dst []byte) (format.PageState, error) {
	if n%2 == 1 {
		return b.end.ReadPage(n, dst)
	}
	return b.Image.ReadPage(n, dst)
}

// TestBaseIsCopiedWhileTheGuestRuns: what was written until the copy ended belongs to
// the base and is no event; what was under way at its end is one; what was lost in
// between and read back before the end is missed by nobody.
func TestBaseIsCopiedWhileTheGuestRuns(t *testing.T) {
	for _, name := range []string{"ext4", "nojournal", "xfs"} {
		t.Run(name, func(t *testing.T) {
			dir := unpack(t, name)
			total := entriesOf(t, dir)
			for k := range uint64(4) {
				copiedUntil(t, dir, total*(2*k+1)/9)
			}
		})
	}
}

func copiedUntil(t *testing.T, dir string, n uint64) {
	end, size, log := openLater(t, dir)
	eachEntry(t, bytes.NewReader(log), func(r format.Record) {
		if q, ok := r.(*format.DiskRequest); ok && q.Seq <= n {
			end.write(t, q)
		}
	})
	until := int64(n) * 1000
	a, err := New(size, &copiedBase{end.Image, end}, Options{Disk: "xvda", Copied: until})
	require.NoError(t, err)
	device := &laterBase{Image: end.Image, pages: map[uint64][]byte{}}
	var flight []*format.DiskRequest
	complete := func(at format.Stamp, left int) {
		for ; len(flight) > left; flight = flight[1:] {
			device.write(t, flight[0])
			require.NoError(t, a.Feed(&format.DiskCompletion{Stamp: at, ID: flight[0].ID}))
		}
	}
	marks := 0
	eachEntry(t, bytes.NewReader(log), func(r format.Record) {
		h := r.Header()
		h.Time = int64(h.Seq) * 1000
		q, isRequest := r.(*format.DiskRequest)
		if isRequest && q.Op != format.DiskRead {
			q.ID, q.Flags = q.Seq, q.Flags&^format.DiskApplied
			q.Data = bytes.Clone(q.Data)
			flight = append(flight, q)
		} else {
			complete(*h, 0)
		}
		require.NoError(t, a.Feed(r))
		// The request before is done now: that before the end of the copy, after it.
		complete(format.Stamp{Seq: h.Seq, Time: h.Time + 1}, 1)
		if h.Seq == n/2 {
			loseAndReadBack(t, a, device, *h)
		}
		if events := a.Events(); h.Time < until {
			require.Empty(t, events, "record %d: the base is not complete", h.Seq)
		}
		if m, ok := r.(*format.Mark); ok && h.Seq > n && strings.HasPrefix(m.Text, "cp") && m.Text != "cp0000" {
			marks++
			require.Empty(t, compare(t, a.State(), readManifest(t, filepath.Join(dir, "man", m.Text+".jsonl"))), "copied until %d, at %s", n, m.Text)
			require.Empty(t, a.SelfCheck())
		}
	})
	for _, p := range a.Problems() {
		require.NotEqual(t, "gap", p.Kind, "%+v", p)
	}
	require.Positive(t, marks)
}

// loseAndReadBack is a gap over the first of the disk, and the end of it.
func loseAndReadBack(t *testing.T, a *Analyzer, device *laterBase, at format.Stamp) {
	const pages = 256
	require.NoError(t, a.Feed(&format.Gap{Stamp: at, Reason: format.GapOverflow, From: 1, To: 2,
		Extents: []format.Extent{{Start: 0, Count: pages * format.PageSize}}}))
	for n := range uint64(pages) {
		data := make([]byte, format.PageSize)
		_, err := device.ReadPage(n, data)
		require.NoError(t, err)
		require.NoError(t, a.Feed(&format.DiskRequest{Stamp: at, Op: format.DiskWrite, Flags: format.DiskReadback,
			Offset: n * format.PageSize, Length: format.PageSize, Data: data}))
	}
}

// TestLossDuringTheCopyIsTold: what is still not known when the base is complete.
func TestLossDuringTheCopyIsTold(t *testing.T) {
	const size = 1 << 20
	block := make([]byte, 4096)
	feed := func(rs ...format.Record) *Analyzer {
		a, err := New(size, zeroDisk(size/format.PageSize), Options{Disk: "xvda", Copied: 100})
		require.NoError(t, err)
		for _, r := range rs {
			require.NoError(t, a.Feed(r))
		}
		require.NoError(t, a.Finish())
		return a
	}
	at := func(time int64) format.Stamp { return format.Stamp{Seq: uint64(time), Time: time} }
	lost := &format.DiskRequest{Stamp: at(10), Op: format.DiskWrite, Flags: format.DiskApplied | format.DiskNoData, Offset: 65536, Length: 4096}
	again := &format.DiskRequest{Stamp: at(20), Op: format.DiskWrite, Flags: format.DiskApplied, Offset: 65536, Length: 4096, Data: block}
	gap := &format.Gap{Stamp: at(30), From: 1, To: 2, Extents: []format.Extent{{Start: 0, Count: 4096}, {Start: 65536, Count: 4096}}}
	require.True(t, feed(lost, again).Complete())
	require.False(t, feed(lost).Complete())
	require.False(t, feed(lost, again, gap).Complete())
	late := feed(gap, &format.DiskRequest{Stamp: at(101), Op: format.DiskWrite, Flags: format.DiskReadback, Length: size, Data: make([]byte, size)})
	require.False(t, late.Complete(), "it was not known when the base was complete")
	require.EqualValues(t, 4096, late.Problems()[0].Length)
	// A discard of everything costs nothing.
	require.True(t, feed(&format.DiskRequest{Stamp: at(10), Op: format.DiskDiscard, Flags: format.DiskApplied, Length: size}).Complete())
}

// zeroDisk is a disk of so many pages of zeros.
type zeroDisk uint64

func (z zeroDisk) Extents() []format.Extent { return []format.Extent{{Count: uint64(z)}} }

func (z zeroDisk) ReadPage(_ uint64, dst []byte) (format.PageState, error) {
	clear(dst[:format.PageSize])
	return format.PageZero, nil
}
