package rebuild

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

const diskPages = 64

// guestDisk is a disk and what a recorder would put on tapes of it.
type guestDisk struct {
	rng  *rand.Rand
	data []byte
	time int64
	id   uint64
}

func newGuestDisk() *guestDisk {
	return &guestDisk{rng: rand.New(rand.NewPCG(1, 2)), data: make([]byte, diskPages*format.PageSize), time: 1e9}
}

// request is one that has ended.
type request struct {
	format.DiskRequest
	status int32
}

// work is n requests of the guest.
func (g *guestDisk) work(n int) (out []request) {
	for range n {
		g.time += 1000
		g.id++
		size := uint64(1+g.rng.IntN(24)) * 512
		r := request{DiskRequest: format.DiskRequest{
			Stamp: format.Stamp{Time: g.time}, ID: g.id, Op: format.DiskWrite, Offset: uint64(g.rng.IntN(len(g.data)/512-24)) * 512, Length: size,
		}}
		switch g.rng.IntN(8) {
		case 0:
			r.Op = format.DiskDiscard
			clear(g.data[r.Offset:][:size])
		case 1:
			r.status = -5 // refused: nothing was written
			r.Data = bytes.Repeat([]byte{0xee}, int(size))
		default:
			r.Data = make([]byte, size)
			for i := range r.Data {
				r.Data[i] = byte(g.rng.Uint32())
			}
			copy(g.data[r.Offset:], r.Data)
		}
		out = append(out, r)
	}
	return out
}

// tape writes a tape of some requests; image, if not nil, is the disk before them, or its
// beginning.
func (g *guestDisk) tape(t *testing.T, name, continues string, image []byte, requests []request, more ...format.Record) *Disk {
	t.Helper()
	var b bytes.Buffer
	w, err := format.NewWriter(&b, format.WriterOptions{Producer: "test", Start: format.Anchor{Stamp: format.Stamp{Time: 1}}})
	require.NoError(t, err)
	def := format.StreamDef{Kind: format.StreamDisk, Name: "xvda", Size: uint64(len(g.data))}
	if continues != "" {
		def.Attrs = []format.Attr{{Name: "continues", Value: continues}}
	}
	id, err := w.DefineStream(def)
	require.NoError(t, err)
	if image != nil {
		begin := format.SnapshotBegin{Pages: diskPages}
		begin.Stream = id
		s, err := w.BeginSnapshot(begin)
		require.NoError(t, err)
		for n := range uint64(len(image) / format.PageSize) {
			require.NoError(t, s.Page(n, image[n*format.PageSize:][:format.PageSize]))
		}
		end := format.SnapshotEnd{ID: s.ID(), Conditions: format.Conditions{Complete: true}}
		end.Stream = id
		require.NoError(t, s.End(end))
	}
	for _, r := range requests {
		r.Stream = id
		require.NoError(t, w.Write(&r.DiskRequest))
		if r.Flags&format.DiskReadback != 0 {
			continue
		}
		c := format.DiskCompletion{ID: r.ID, Status: r.status}
		c.Stream, c.Time = id, r.Time+1
		require.NoError(t, w.Write(&c))
	}
	for _, r := range more {
		if gap, ok := r.(*format.Gap); ok {
			gap.Stream = id
		}
		require.NoError(t, w.Write(r))
	}
	require.NoError(t, w.Seal())
	r, err := format.Open(bytes.NewReader(b.Bytes()), int64(b.Len()), format.ReaderOptions{})
	require.NoError(t, err)
	disks, err := Disks(r, name)
	require.NoError(t, err)
	require.Len(t, disks, 1)
	return disks[0]
}

// exportChain is the disk as Chain writes it, over what the file holds already.
func exportChain(t *testing.T, holds []byte, before string, tapes []*Disk, until int64) ([]byte, []string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk.img")
	require.NoError(t, os.WriteFile(name, holds, 0o600))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	losses, err := Chain(f, before, tapes, until)
	require.NoError(t, err)
	got, err := os.ReadFile(name)
	require.NoError(t, err)
	return got, losses
}

// Segments that were recorded one after the other, each beginning while the one before
// still ran, are the disk together: from the image of the first, from one that was kept
// of what went before, and folded one by one.
func TestDiskOverSeveralTapes(t *testing.T) {
	g := newGuestDisk()
	image := bytes.Clone(g.data)
	var tapes []*Disk
	var ends [][]byte
	var shared []request // of the overlap: on both tapes
	for i := range 5 {
		own := append(shared, g.work(40)...)
		shared = g.work(7)
		name, before := fmt.Sprintf("%d.xtape", i), ""
		first := image
		if i > 0 {
			before, first = fmt.Sprintf("%d.xtape", i-1), nil
		}
		tapes = append(tapes, g.tape(t, name, before, first, append(own, shared...)))
		ends = append(ends, bytes.Clone(g.data))
	}
	got, losses := exportChain(t, nil, "", tapes, math.MaxInt64)
	require.Empty(t, losses)
	require.True(t, bytes.Equal(g.data, got))

	kept := []byte(nil)
	for i, tape := range tapes {
		before := ""
		if i > 0 {
			before = tapes[i-1].Tape()
		}
		kept, losses = exportChain(t, kept, before, []*Disk{tape}, math.MaxInt64)
		require.Empty(t, losses)
		require.True(t, bytes.Equal(ends[i], kept), "folded up to %d", i)
		again, _ := exportChain(t, kept, before, []*Disk{tape}, math.MaxInt64)
		require.True(t, bytes.Equal(kept, again), "what was begun and not noted is done again")
		rest, losses := exportChain(t, kept, tape.Tape(), tapes[i+1:], math.MaxInt64)
		if i+1 < len(tapes) {
			require.Empty(t, losses)
			require.True(t, bytes.Equal(g.data, rest), "from %d on", i)
		}
	}
	_, losses = exportChain(t, ends[0], "0.xtape", tapes[2:], math.MaxInt64)
	require.Equal(t, []string{"2.xtape does not go on where 0.xtape ended: what was written between them is not known"}, losses)
	_, losses = exportChain(t, nil, "", tapes[2:], math.MaxInt64)
	require.Len(t, losses, 1)
	require.Contains(t, losses[0], "no base image")
	// A tape with an image of its own needs none of those before it.
	own := g.tape(t, "5.xtape", "", bytes.Clone(g.data), g.work(3))
	got, losses = exportChain(t, nil, "", append(tapes[2:], own), math.MaxInt64)
	require.Empty(t, losses)
	require.True(t, bytes.Equal(g.data, got))
}

// What was lost and read back later is not lost; what was not is said.
func TestDiskSaysWhatIsUnknownInTheEnd(t *testing.T) {
	g := newGuestDisk()
	image := bytes.Clone(g.data)
	lost := request{DiskRequest: format.DiskRequest{
		Stamp: format.Stamp{Time: g.time}, ID: 1 << 40, Op: format.DiskWrite, Flags: format.DiskNoData, Offset: 8192, Length: 12288,
	}}
	back := request{DiskRequest: format.DiskRequest{
		Stamp: format.Stamp{Time: g.time + 9}, ID: 2 << 40, Op: format.DiskWrite, Flags: format.DiskReadback, Offset: 4096, Length: 12288, Data: make([]byte, 12288),
	}}
	_, losses := exportChain(t, nil, "", []*Disk{g.tape(t, "a", "", image, []request{lost, back})}, math.MaxInt64)
	require.Equal(t, []string{"4096 bytes were written by the guest without their content being captured"}, losses)
	back.Length, back.Data = 16384, make([]byte, 16384)
	_, losses = exportChain(t, nil, "", []*Disk{g.tape(t, "a", "", image, []request{lost, back})}, math.MaxInt64)
	require.Empty(t, losses)
	gap := &format.Gap{Reason: format.GapBudget, From: 1, To: 2, Extents: []format.Extent{{Start: 65536, Count: 65536}}}
	gap.Time = g.time + 20
	_, losses = exportChain(t, nil, "", []*Disk{g.tape(t, "a", "", image, []request{lost, back}, gap)}, math.MaxInt64)
	require.Len(t, losses, 1)
	require.Contains(t, losses[0], "65536 bytes may be older than this")

	short := image[:(diskPages-4)*format.PageSize]
	back.Offset = uint64(len(image) - len(back.Data))
	_, losses = exportChain(t, nil, "", []*Disk{g.tape(t, "a", "", short, nil)}, math.MaxInt64)
	require.Equal(t, []string{"16384 bytes are not in the base image, and were not written since: they read as zeros"}, losses)
	_, losses = exportChain(t, nil, "", []*Disk{g.tape(t, "a", "", short, []request{back})}, math.MaxInt64)
	require.Empty(t, losses)

	d := g.tape(t, "a", "", nil, nil)
	d.Def.Size = maxDisk + 1
	_, err := Chain(nil, "", []*Disk{d}, math.MaxInt64)
	require.ErrorContains(t, err, "more than the")
}
