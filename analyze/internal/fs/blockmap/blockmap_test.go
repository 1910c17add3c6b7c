package blockmap

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
)

func owners(m *Map, off, n uint64) map[fs.ID]fs.Range {
	out := map[fs.ID]fs.Range{}
	m.Find(off, n, func(o Owner) { out[o.ID] = o.Overlap(off, n) })
	return out
}

func TestFindAcrossStretches(t *testing.T) {
	var m Map
	short := Owner{ID: fs.ID{Num: 1}, Physical: 1<<20 - 4096, Logical: 8192, Length: 8192}
	long := Owner{ID: fs.ID{Num: 2}, Physical: 4 << 30, Length: 3 << 30}
	clone := Owner{ID: fs.ID{Num: 3}, Physical: 1 << 20, Length: 4096}
	for _, o := range []Owner{short, long, clone} {
		m.Add(o)
	}
	require.Equal(t, map[fs.ID]fs.Range{{Num: 1}: {Off: 12288, Len: 4096}, {Num: 3}: {Off: 0, Len: 4096}}, owners(&m, 1<<20, 4096))
	require.Equal(t, map[fs.ID]fs.Range{{Num: 1}: {Off: 8192, Len: 512}}, owners(&m, 1<<20-4096, 512))
	require.Equal(t, map[fs.ID]fs.Range{{Num: 2}: {Off: 1<<30 + 5, Len: 7}}, owners(&m, 5<<30+5, 7))
	require.Len(t, owners(&m, 0, 1<<40), 3, "each claim once")
	m.Remove(short)
	m.Remove(long)
	require.Equal(t, map[fs.ID]fs.Range{{Num: 3}: {Off: 0, Len: 4096}}, owners(&m, 0, 1<<40))
}

func TestPendingKeepsEveryByte(t *testing.T) {
	var p Pending
	written := map[uint64]bool{}
	x := uint64(1)
	for seq := uint64(1); seq < 3000; seq++ {
		x = x*6364136223846793005 + 1442695040888963407
		off, n := x>>33%4096, x>>20%64+1
		if x>>62 == 0 {
			for _, r := range p.Take(off, n) {
				for b := r.Off; b < r.Off+r.Len; b++ {
					require.True(t, written[b])
					require.GreaterOrEqual(t, b, off)
					require.Less(t, b, off+n)
					delete(written, b)
				}
			}
			continue
		}
		p.Add(off, n, fs.Stamp{Seq: seq})
		for b := off; b < off+n; b++ {
			written[b] = true
		}
	}
	require.NotEmpty(t, written)
	for _, r := range p.Take(0, 1<<20) {
		for b := r.Off; b < r.Off+r.Len; b++ {
			require.True(t, written[b])
			delete(written, b)
		}
	}
	require.Empty(t, written)
	require.Zero(t, p.Len())
}

func TestLedgerClaimsEarlierWrites(t *testing.T) {
	l := Ledger{Stored: 4096}
	a, b := fs.ID{Num: 1}, fs.ID{Num: 2}
	w := &fs.Write{Stamp: fs.Stamp{Seq: 7}, Off: 40960, Len: 12288}
	l.Write(w.Off, w.Len, w, func(fs.ID, fs.Range) { t.Fatal("nobody owns it yet") })
	got := map[fs.ID][]fs.Range{}
	claim := func(id fs.ID) func(fs.Range, fs.Stamp, fs.Stamp) {
		return func(r fs.Range, first, _ fs.Stamp) {
			require.Equal(t, uint64(7), first.Seq)
			got[id] = append(got[id], r)
		}
	}
	plain := []fs.Extent{{Logical: 100 << 10, Physical: 45056, Length: 8192}}
	packed := []fs.Extent{{Physical: 40960, Length: 131072, State: fs.ExtentCompressed}}
	l.Moved(a, nil, plain, claim(a))
	l.Moved(b, nil, packed, claim(b))
	l.Release()
	require.Equal(t, map[fs.ID][]fs.Range{a: {{Off: 100 << 10, Len: 8192}}, b: {{Off: 0, Len: 131072}}}, got)
	// A compressed extent takes less of the disk than its length: what is behind it is not its own.
	w = &fs.Write{Stamp: fs.Stamp{Seq: 8}, Off: 45056, Len: 4096}
	seen := []fs.ID{}
	l.Write(w.Off, w.Len, w, func(id fs.ID, _ fs.Range) { seen = append(seen, id) })
	require.Equal(t, []fs.ID{a}, seen)
}
