package vectors

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// place is a region of a chunk in a file.
type place struct {
	chunk      uint64
	typ        uint8
	name       string
	start, end int
}

// places lists the regions of every chunk of an undamaged tape, by SPEC.md §3.1.
func places(t *testing.T, b []byte) (out [][]place) {
	le := binary.LittleEndian
	for at := len(magic); at < len(b); {
		h := b[at : at+48]
		require.Equal(t, []byte{0xf0, 0x9f, 0x93, 0xbc}, h[:4])
		meta, stored := int(le.Uint16(h[6:])), int(le.Uint32(h[32:]))
		body := at + 48 + meta
		end := body + stored
		next := end + (-(48 + meta + stored))&7
		var ps []place
		for _, f := range []struct {
			name   string
			lo, hi int
		}{
			{"sync", at, at + 4}, {"type", at + 4, at + 5}, {"flags", at + 5, at + 6}, {"meta_length", at + 6, at + 8}, {"tape", at + 8, at + 24},
			{"number", at + 24, at + 32}, {"stored", at + 32, at + 36}, {"size", at + 36, at + 40}, {"body_crc", at + 40, at + 44}, {"head_crc", at + 44, at + 48},
			{"meta", at + 48, body}, {"body", body, end}, {"padding", end, next},
		} {
			if f.hi > f.lo {
				ps = append(ps, place{le.Uint64(h[24:]), h[4], f.name, f.lo, f.hi})
			}
		}
		out = append(out, ps)
		at = next
	}
	return out
}

// shippedReading is what the shipped tape gives: records by number, and a sample
// of pages.
type shippedReading struct {
	records map[uint64][32]byte
	pages   map[[2]uint64][32]byte
	lost    int
	reader  *format.Reader
}

func readShipped(t *testing.T, b []byte) *shippedReading {
	r, err := format.Open(bytes.NewReader(b), int64(len(b)), format.ReaderOptions{})
	require.NoError(t, err)
	out := &shippedReading{map[uint64][32]byte{}, map[[2]uint64][32]byte{}, 0, r}
	for rec, err := range r.Records(format.Query{}) {
		if err != nil {
			out.lost++
			continue
		}
		enc, err := format.AppendRecord(nil, rec)
		require.NoError(t, err)
		out.records[rec.Header().Seq] = sha256.Sum256(enc)
	}
	page := make([]byte, format.PageSize)
	for _, info := range r.Snapshots() {
		s, err := r.Snapshot(info.Begin.ID)
		require.NoError(t, err)
		for n := uint64(0); n < info.Begin.Pages; n += info.Begin.Pages/400 + 1 {
			st, err := s.ReadPage(n, page)
			if err != nil {
				out.lost++
				continue
			}
			out.pages[[2]uint64{uint64(info.Begin.ID), n}] = sha256.Sum256(append(page[:format.PageSize:format.PageSize], byte(st)))
		}
	}
	return out
}

// nothingWrong compares what a damaged tape gives with what it gave before.
func (s *shippedReading) nothingWrong(t *testing.T, want *shippedReading) {
	t.Helper()
	for seq, h := range s.records {
		require.Equal(t, want.records[seq], h, "record %d", seq)
	}
	for k, h := range s.pages {
		require.Equal(t, want.pages[k], h, "page %v", k)
	}
}

func shipped(t *testing.T) []byte {
	b, err := os.ReadFile("../tapes/web-intrusion/tape.xtape")
	require.NoError(t, err)
	return b
}

// TestBitFlipsOfTheShippedTape flips a bit in every kind of region of every kind of
// chunk of a recording of a real guest: it is seen, it is told to be in that chunk
// and no other, nothing that comes back is wrong, and no record is lost that was
// not in it.
func TestBitFlipsOfTheShippedTape(t *testing.T) {
	b := shipped(t)
	want := readShipped(t, b)
	require.Zero(t, want.lost)
	require.Greater(t, len(want.records), 2000)
	regions := places(t, b)
	rng := rand.New(rand.NewPCG(9, 9))
	seen := map[string]bool{}
	for _, chunk := range regions {
		for _, p := range chunk {
			class := fmt.Sprintf("%#x/%s", p.typ, p.name)
			head := p.name != "meta" && p.name != "body" && p.name != "padding"
			// Headers are alike in all types: each field once in records, one field
			// in the others.
			if seen[class] || (head && p.typ != tRecords) || (testing.Short() && p.name != "body") {
				continue
			}
			seen[class] = true
			at, bit := p.start+rng.IntN(p.end-p.start), byte(1)<<rng.IntN(8)
			t.Run(class, func(t *testing.T) {
				b := bytes.Clone(b)
				b[at] ^= bit
				flipShipped(t, b, p, want)
			})
		}
	}
	if !testing.Short() {
		require.Greater(t, len(seen), 25, "classes of region")
	}
	b[3] ^= 1
	v, err := format.Verify(bytes.NewReader(b), int64(len(b)), format.VerifyOptions{})
	require.NoError(t, err)
	require.Len(t, v.Damage, 1)
	require.Equal(t, format.DamageMagic, v.Damage[0].Kind)
}

func flipShipped(t *testing.T, b []byte, p place, want *shippedReading) {
	v, err := format.Verify(bytes.NewReader(b), int64(len(b)), format.VerifyOptions{})
	require.NoError(t, err)
	require.False(t, v.OK)
	var mine *format.Damage
	for _, d := range v.Damage {
		require.LessOrEqual(t, d.Chunks, uint64(1), "%+v", d)
		if d.Chunk != 0 {
			require.Equal(t, p.chunk, d.Chunk, "%+v", d)
		}
		if d.LastSeq != 0 {
			mine = &d
		}
	}
	if p.name != "meta" && p.name != "body" {
		return
	}
	got := readShipped(t, b)
	got.nothingWrong(t, want)
	if got.lost > 0 {
		require.NotEmpty(t, got.reader.Damage())
	}
	for seq := range want.records {
		if _, ok := got.records[seq]; !ok {
			require.NotNil(t, mine, "record %d is lost", seq)
			require.True(t, p.typ == tRecords && seq >= mine.FirstSeq && seq <= mine.LastSeq, "record %d is lost", seq)
			require.NotZero(t, got.lost)
		}
	}
	if p.typ != tPages {
		require.Len(t, got.pages, len(want.pages))
	}
}

// TestCutsOfTheShippedTape cuts it at places all over: what was before comes back,
// and salvage makes a whole tape of it.
func TestCutsOfTheShippedTape(t *testing.T) {
	b := shipped(t)
	want := readShipped(t, b)
	ends := places(t, b)
	rng := rand.New(rand.NewPCG(8, 8))
	cuts := []int{60, ends[1][len(ends[1])-1].end, len(b) - 1}
	more := 2
	if os.Getenv("XENTAPE_DATA") != "" {
		more = 12
	}
	for range more {
		cuts = append(cuts, 200+rng.IntN(len(b)-200))
	}
	if testing.Short() {
		cuts = cuts[3:4]
	}
	for _, cut := range cuts {
		part := b[:cut]
		r, err := format.Open(bytes.NewReader(part), int64(cut), format.ReaderOptions{})
		if cut < ends[0][len(ends[0])-1].end {
			require.ErrorIs(t, err, format.ErrNotTape)
			continue
		}
		require.NoError(t, err)
		require.False(t, r.Sealed())
		got := readShipped(t, part)
		got.nothingWrong(t, want)
		// Every record of a chunk that is wholly there: as many as their metas say.
		v, err := format.Verify(bytes.NewReader(part), int64(cut), format.VerifyOptions{})
		require.NoError(t, err)
		require.Len(t, got.records, int(v.Records), "cut at %d", cut)
		var saved bytes.Buffer
		_, err = format.Salvage(&saved, bytes.NewReader(part), int64(cut), format.SalvageOptions{})
		require.NoError(t, err)
		v, err = format.Verify(bytes.NewReader(saved.Bytes()), int64(saved.Len()), format.VerifyOptions{})
		require.NoError(t, err)
		require.True(t, v.OK && v.Sealed, "%+v", v.Damage)
		again := readShipped(t, saved.Bytes())
		for seq, h := range got.records {
			require.Equal(t, h, again.records[seq], "record %d", seq)
		}
	}
}

// TestShippedTapeGivesAll: a reader that gives nothing would pass the tests above.
func TestShippedTapeGivesAll(t *testing.T) {
	got := readShipped(t, shipped(t))
	require.Greater(t, len(got.pages), 1000)
	_, err := got.reader.Snapshot(99)
	require.True(t, errors.Is(err, format.ErrNoSnapshot))
}
