package format

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
)

// memFile is a file in memory.
type memFile struct{ b []byte }

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(f.b).ReadAt(p, off)
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if n := int(off) + len(p); n > len(f.b) {
		f.b = append(f.b, make([]byte, n-len(f.b))...)
	}
	return copy(f.b[off:], p), nil
}

func (f *memFile) Truncate(n int64) error {
	f.b = f.b[:n]
	return nil
}

// spooledTape writes a snapshot and then one that builds on it, through a spool, and
// stops after so many steps as one that is killed. It returns what is in the two
// files, what the second snapshot should hold, whether all of it was in the spool, and
// whether the last step was done.
func spooledTape(t testing.TB, seed uint64, steps int) (tape, spool []byte, want *model, whole, done bool) {
	rng := rand.New(rand.NewPCG(seed, 2))
	var out bytes.Buffer
	var file memFile
	w, err := NewWriter(&out, WriterOptions{Rand: fixedRand(), Spool: &file, SpoolBytes: 20 * PageSize, ChunkSize: 2 * PageSize})
	require.NoError(t, err)
	id, err := w.DefineStream(StreamDef{Kind: StreamMemory, Name: "memory"})
	require.NoError(t, err)
	first, err := w.BeginSnapshot(SnapshotBegin{Stamp: Stamp{Stream: id}, Pages: modelPages})
	require.NoError(t, err)
	want = &model{map[uint64][]byte{}, map[uint64]PageState{}}
	for range 30 {
		stateAtRandom(t, rng, first, want)
	}
	require.NoError(t, first.End(SnapshotEnd{}))
	s, err := w.BeginSnapshot(SnapshotBegin{Stamp: Stamp{Stream: id}, Parent: first.ID(), Pages: modelPages})
	require.NoError(t, err)
	p, err := s.Spool()
	require.NoError(t, err)
	require.NotNil(t, p)
	other, err := s.Spool()
	require.NoError(t, err)
	require.Nil(t, other, "it has one owner")
	var doing []func() error
	for range 30 {
		doing = append(doing, func() error {
			stateInSpool(t, rng, p, want)
			if p.Full() {
				return p.Empty()
			}
			return nil
		})
	}
	doing = append(doing,
		func() error {
			whole = true
			return p.End(SnapshotEnd{Conditions: Conditions{Complete: true, Changed: 7}})
		},
		p.Drain,
		func() error { return s.End(SnapshotEnd{Conditions: Conditions{Complete: true, Changed: 7}}) },
		p.Release,
	)
	for _, do := range doing[:min(steps, len(doing))] {
		require.NoError(t, do())
	}
	require.NoError(t, w.Flush())
	if steps < len(doing) {
		require.NoError(t, p.flush()) // statements without content wait for company
	}
	return out.Bytes(), file.b, want, whole, steps >= len(doing)
}

func stateInSpool(t testing.TB, rng *rand.Rand, p *Spool, m *model) {
	n := rng.Uint64N(modelPages)
	if rng.IntN(3) == 0 {
		count := 1 + rng.Uint64N(min(4, modelPages-n))
		st := []PageState{PageZero, PageAbsent, PageUnreadable, PageDevice}[rng.IntN(4)]
		require.NoError(t, p.State(Extent{n, count}, st))
		for i := n; i < n+count; i++ {
			m.states[i] = st
			delete(m.pages, i)
		}
		return
	}
	data := bytes.Repeat([]byte{byte(rng.IntN(4))}, PageSize)
	data[rng.IntN(PageSize)] = byte(rng.Uint32())
	require.NoError(t, p.Pages([]uint64{n}, data))
	m.pages[n], m.states[n] = data, PageData
	if IsZero(data) {
		m.states[n] = PageZero
		delete(m.pages, n)
	}
}

// TestSpoolOutlivesItsRecorder: whenever the recorder dies, salvage has from tape and
// spool what was stated until then, and of a snapshot that was whole in the spool all.
func TestSpoolOutlivesItsRecorder(t *testing.T) {
	for seed := range uint64(4) {
		for steps := 0; ; steps++ {
			tape, spool, want, whole, done := spooledTape(t, seed, steps)
			o := SalvageOptions{Spool: bytes.NewReader(spool), SpoolSize: int64(len(spool))}
			saved, rep := salvageBytes(t, tape, o)
			again, _ := salvageBytes(t, tape, o)
			require.True(t, bytes.Equal(saved, again), "deterministic")
			v := verifyBytes(t, saved, VerifyOptions{})
			require.True(t, v.OK, "seed %d, %d steps: %v", seed, steps, v.Damage)
			if whole {
				require.Zero(t, rep.LostPages)
			}
			r := openBytes(t, saved, ReaderOptions{})
			s, err := r.Snapshot(2)
			require.NoError(t, err)
			require.Equal(t, whole, s.Info().End != nil)
			if whole {
				require.True(t, s.Info().End.Complete)
				require.Equal(t, uint64(7), s.Info().End.Changed)
			}
			var page [PageSize]byte
			stated := 0
			for n := range uint64(modelPages) {
				st, err := s.ReadPage(n, page[:])
				if !whole && st == PageMissing {
					continue // not stated when it died
				}
				require.NoError(t, err, "seed %d, %d steps, page %d", seed, steps, n)
				require.Equal(t, want.states[n], st, "seed %d, %d steps, page %d", seed, steps, n)
				if st == PageData {
					require.True(t, bytes.Equal(want.pages[n], page[:]))
					stated++
				}
			}
			if done {
				require.Empty(t, spool)
				require.Nil(t, rep.Spooled)
				require.NotZero(t, stated)
				break
			}
		}
	}
}

// TestTornSpool: from a spool cut anywhere salvage has what is before the cut.
func TestTornSpool(t *testing.T) {
	tape, spool, _, _, _ := spooledTape(t, 3, 12)
	last := uint64(0)
	for cut := spoolHead; cut <= len(spool); cut += 97 {
		saved, rep := salvageBytes(t, tape, SalvageOptions{Spool: bytes.NewReader(spool), SpoolSize: int64(cut)})
		require.True(t, verifyBytes(t, saved, VerifyOptions{}).OK)
		require.GreaterOrEqual(t, rep.Spooled.Pages, last)
		require.False(t, rep.Spooled.Whole)
		if cut > spoolHead && cut < len(spool) {
			require.Contains(t, rep.Spooled.Torn, "frame at byte")
		}
		last = rep.Spooled.Pages
	}
	require.NotZero(t, last)
}

// TestSpoolOfAnotherTape is refused, and what is none.
func TestSpoolOfAnotherTape(t *testing.T) {
	tape, spool, _, _, _ := spooledTape(t, 1, 12)
	wrong := bytes.Clone(spool)
	wrong[8]++
	binary.LittleEndian.PutUint32(wrong[28:], crc32.Checksum(wrong[:28], castagnoli))
	for name, c := range map[string]struct{ tape, spool []byte }{
		"it is of tape":      {tape, wrong},
		"not a spool":        {tape, []byte("no")},
		"begins with":        {tape, bytes.Repeat([]byte{1}, 64)},
		"head is damaged":    {tape, append(bytes.Clone(spool[:20]), make([]byte, 64)...)},
		"has not begun":      {tape[:600], spool},
		"beyond the 40 page": {tape, beyond(t, spool)},
	} {
		_, err := Salvage(io.Discard, bytes.NewReader(c.tape), int64(len(c.tape)), SalvageOptions{Spool: bytes.NewReader(c.spool), SpoolSize: int64(len(c.spool))})
		require.ErrorContains(t, err, name)
	}
}

// beyond is the spool with a page that its snapshot does not have.
func beyond(t *testing.T, spool []byte) []byte {
	f := &memFile{bytes.Clone(spool)}
	p := &Spool{f: f, size: int64(len(spool)), to: &SnapshotWriter{w: &Writer{opts: WriterOptions{Workers: 1}}}}
	require.NoError(t, p.Pages([]uint64{modelPages}, make([]byte, PageSize)))
	return f.b
}

// TestSealedTapeHasNoSpool: its content would lie there in clear.
func TestSealedTapeHasNoSpool(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	var out bytes.Buffer
	w, err := NewWriter(&out, WriterOptions{Spool: &memFile{}, Recipients: []age.Recipient{id.Recipient()}})
	require.NoError(t, err)
	stream, err := w.DefineStream(StreamDef{Kind: StreamMemory, Name: "memory"})
	require.NoError(t, err)
	s, err := w.BeginSnapshot(SnapshotBegin{Stamp: Stamp{Stream: stream}, Pages: 4})
	require.NoError(t, err)
	p, err := s.Spool()
	require.NoError(t, err)
	require.Nil(t, p)
	require.NoError(t, w.Close())
}

// FuzzSpool: whatever the spool holds, salvage refuses it or makes a tape that verifies.
func FuzzSpool(f *testing.F) {
	tape, spool, _, _, _ := spooledTape(f, 2, 12)
	f.Add(uint32(0), byte(0), uint32(1<<31))
	f.Add(uint32(40), byte(1), uint32(5000))
	f.Add(uint32(spoolHead), byte(7), uint32(9000))
	f.Fuzz(func(t *testing.T, at uint32, flip byte, size uint32) {
		b := bytes.Clone(spool[:min(int(size), len(spool))])
		if len(b) > 0 {
			b[int(at)%len(b)] ^= flip
			resum(b)
		}
		var out bytes.Buffer
		rep, err := Salvage(&out, bytes.NewReader(tape), int64(len(tape)), SalvageOptions{Spool: bytes.NewReader(b), SpoolSize: int64(len(b))})
		if err != nil {
			require.ErrorContains(t, err, "spool")
			return
		}
		require.True(t, verifyBytes(t, out.Bytes(), VerifyOptions{}).OK, fmt.Sprint(rep))
	})
}

// resum makes the checksums of a spool's frames right, so that what is in them is
// looked at.
func resum(b []byte) {
	for at := spoolHead; at+frameHead <= len(b); {
		n := int(uint32(b[at+4]) | uint32(b[at+5])<<8 | uint32(b[at+6])<<16 | uint32(b[at+7])<<24)
		if n > len(b)-at-frameHead {
			return
		}
		payload := b[at+frameHead : at+frameHead+n]
		if b[at] == spoolPages {
			k := n / (pageHead + PageSize)
			for i := range k {
				page := payload[k*pageHead+i*PageSize:][:PageSize]
				putSum(payload[i*pageHead+8:], page)
			}
			payload = payload[:k*pageHead]
		}
		sum := frameSum(b[at:], payload)
		b[at+8], b[at+9], b[at+10], b[at+11] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
		at += frameHead + n
	}
}
