package blockmap

import (
	"bytes"
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

// TestCarriedAlong: what a page cache writes back beside what changed is nobody's write.
func TestCarriedAlong(t *testing.T) {
	old := bytes.Repeat([]byte{1}, 5*4096)
	dev := bytes.NewReader(old)
	a, b, c := fs.ID{Num: 1}, fs.ID{Num: 2}, fs.ID{Num: 3}
	data := bytes.Clone(old[512 : 4*4096])
	data[4096-512+600] = 2  // in the second sector of page 1
	data[4096-512+1024] = 2 // and its third
	w := &fs.Write{Op: fs.OpWrite, Off: 512, Len: uint64(len(data)), Data: data}
	wrote := func(cluster uint64) map[fs.ID][]fs.Range {
		var l Ledger
		l.Add(a, []fs.Extent{{Physical: 1024, Length: 3072 + 512}})         // page 0, and the first sector of page 1
		l.Add(b, []fs.Extent{{Physical: 4096 + 512, Length: 1024}})         // what changed
		l.Add(c, []fs.Extent{{Physical: 4096 + 1536, Length: 2560 + 4096}}) // the rest of page 1, and page 2
		got := map[fs.ID][]fs.Range{}
		l.Compare(dev, w, cluster)
		l.Write(w.Off, w.Len, w, func(id fs.ID, r fs.Range) { got[id] = append(got[id], r) })
		return got
	}
	require.Equal(t, map[fs.ID][]fs.Range{
		a: {{Off: 0, Len: 3072}}, b: {{Off: 0, Len: 1024}}, c: {{Off: 2560, Len: 4096}},
	}, wrote(512), "pages that are whole as they were were written by somebody")
	require.Equal(t, map[fs.ID][]fs.Range{
		a: {{Off: 0, Len: 3584}}, b: {{Off: 0, Len: 1024}}, c: {{Off: 0, Len: 6656}},
	}, wrote(4096))
	dev = bytes.NewReader(old[:4096+512])
	require.Equal(t, []fs.Range{{Off: 0, Len: 6656}}, wrote(512)[c], "what is not known may have been anything")
}
