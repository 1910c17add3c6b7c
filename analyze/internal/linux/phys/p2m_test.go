package phys_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/linux/imagetest"
	"github.com/xentape/xentape/analyze/internal/linux/phys"
	"github.com/xentape/xentape/replay"
)

// directMap makes the memory of a PV guest that holds nothing but the tables of its
// direct map, which lie from a frame on, downwards, and what machine frame each frame is.
func directMap(frames, tables uint64) (*imagetest.Sparse, []uint64) {
	s := &imagetest.Sparse{Frames: map[uint64]*imagetest.Page{}}
	s.Header.Info.Guest = replay.GuestPV
	random := rand.New(rand.NewPCG(1, frames))
	mfn := make([]uint64, frames)
	for i, v := range random.Perm(int(frames)) {
		mfn[i] = 0x10000 + uint64(v)
	}
	put := func(frame, slot, entry uint64) {
		if s.Frames[frame] == nil {
			s.Frames[frame] = new(imagetest.Page)
		}
		binary.LittleEndian.PutUint64(s.Frames[frame][8*slot:], entry)
	}
	top := tables
	for gib := range (frames + 1<<18 - 1) >> 18 {
		tables--
		middle := tables
		put(top, gib, mfn[middle]<<12|0x67)
		for n := range uint64(512) {
			from := gib<<18 + n<<9
			if from >= frames {
				break
			}
			tables--
			put(middle, n, mfn[tables]<<12|0x67)
			for i := range uint64(512) {
				if from+i < frames {
					put(tables, i, mfn[from+i]<<12|0x8010000000000063)
				}
			}
		}
	}
	put(frames-1, 0, 0xffff) // so that memory goes up to there
	return s, mfn
}

func TestFramesOfDirectMap(t *testing.T) {
	for name, c := range map[string]struct{ frames, tables uint64 }{
		"64 MiB":    {16 << 10, 9000},
		"not whole": {16<<10 + 100, 9000},
		"2 GiB":     {2 << 18, 1<<18 + 7000},
	} {
		t.Run(name, func(t *testing.T) {
			s, mfn := directMap(c.frames, c.tables)
			m, err := phys.New(s)
			require.NoError(t, err)
			require.Equal(t, len(mfn), m.Rebuilt())
			for pfn, f := range mfn {
				if got, ok := m.FromMachine(f); !ok || got != uint64(pfn) {
					t.Fatalf("frame %#x: %#x %v", pfn, got, ok)
				}
			}
		})
	}
	s, _ := directMap(16<<10, 9000)
	for f := range s.Frames {
		if f > 8950 {
			delete(s.Frames, f)
		}
	}
	_, err := phys.New(s)
	require.ErrorIs(t, err, phys.ErrNoP2M)
	require.ErrorContains(t, err, "direct map")
}

// TestTablesThatNameEachOther: memory made to have every table be every other's is
// given up in bounded time.
func TestTablesThatNameEachOther(t *testing.T) {
	s := &imagetest.Sparse{Frames: map[uint64]*imagetest.Page{}}
	s.Header.Info.Guest = replay.GuestPV
	page := new(imagetest.Page)
	for i := range 512 {
		binary.LittleEndian.PutUint64(page[8*i:], 0x1234<<12|0x63)
	}
	for f := range uint64(3000) {
		s.Frames[512*f] = page
	}
	_, err := phys.New(s)
	require.ErrorIs(t, err, phys.ErrNoP2M)
}

// FuzzFramesOfDirectMap: in a damaged map no frame has two machine frames, and none
// lies beyond memory.
func FuzzFramesOfDirectMap(f *testing.F) {
	s, _ := directMap(16<<10, 9000)
	f.Add([]byte("\x00\x00aaaaaaaa"))
	f.Add([]byte("\x07\x01\x00\x00\x00\x00\x00\x00\x00\x01\x02\x07\x0a\x0b\x0c\x0d\x0e\x0f\x01\x02"))
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 400 {
			return
		}
		c := s.Mutate(script, nil)
		c.Header.Info.Guest = replay.GuestPV
		m, err := phys.New(c)
		if err != nil {
			require.ErrorIs(t, err, phys.ErrNoP2M)
			return
		}
		seen := map[uint64]bool{}
		for mfn := range uint64(1 << 17) {
			if pfn, ok := m.FromMachine(mfn); ok {
				require.Less(t, pfn, uint64(16<<10))
				require.False(t, seen[pfn])
				seen[pfn] = true
			}
		}
	})
}
