package join

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/format/rebuild"
)

const (
	second = int64(time.Second)
	pages  = 64 // of the disk, and of memory
)

// guest is what happened on a guest: requests, of which each took a while, packets, and
// what its disk held in the end.
type guest struct {
	records []format.Record // ascending by time
	image   []byte          // at second 0
	end     []byte
}

func newGuest(seconds int) *guest {
	rng := rand.New(rand.NewPCG(3, 4))
	g := &guest{image: make([]byte, pages*format.PageSize)}
	for i := range g.image {
		g.image[i] = byte(rng.Uint32())
	}
	g.end = bytes.Clone(g.image)
	var flying *format.DiskRequest
	for k := range seconds * 10 {
		at := int64(k)*second/10 + 1000
		number := binary.BigEndian.AppendUint32(nil, uint32(k))
		g.records = append(g.records, &format.Packet{Stamp: format.Stamp{Time: at}, LinkType: 1, OrigLen: 4, Data: number})
		// Every request is in flight over the next record: each handover falls into one.
		r := &format.DiskRequest{Stamp: format.Stamp{Time: at + 10}, ID: uint64(k), Op: format.DiskWrite, Offset: uint64(rng.IntN(pages*8-8)) * 512, Length: 4096}
		if k%5 == 4 {
			r.Op = format.DiskDiscard
		} else {
			r.Data = bytes.Repeat(number, 1024)
		}
		if flying != nil {
			g.complete(flying, at)
		}
		g.records = append(g.records, r)
		flying = r
	}
	g.complete(flying, int64(seconds)*second)
	return g
}

func (g *guest) complete(r *format.DiskRequest, at int64) {
	g.records = append(g.records, &format.DiskCompletion{Stamp: format.Stamp{Time: at + 5}, ID: r.ID})
	held := g.end[r.Offset:][:r.Length]
	clear(held)
	copy(held, r.Data)
}

// segment is the tape of what a recorder saw from one time to another.
type segmentOf struct {
	name, continues string
	from, to        int64
	image           []byte
	domain          byte
	leave           bool // not sealed
}

func (g *guest) tape(t testing.TB, o segmentOf) Segment {
	t.Helper()
	content := g.write(t, o)
	r, err := format.Open(bytes.NewReader(content), int64(len(content)), format.ReaderOptions{})
	require.NoError(t, err)
	return Segment{o.name, r}
}

func (g *guest) write(t testing.TB, o segmentOf) []byte {
	t.Helper()
	var b bytes.Buffer
	id := [16]byte{}
	copy(id[:], o.name)
	w, err := format.NewWriter(&b, format.WriterOptions{Producer: "test", TapeID: id, Start: format.Anchor{Stamp: format.Stamp{Time: o.from}, Realtime: 1e18 + o.from}})
	require.NoError(t, err)
	define := func(kind format.StreamKind, name string, size uint64, attrs ...format.Attr) format.StreamID {
		d := format.StreamDef{Stamp: format.Stamp{Time: o.from}, Kind: kind, Name: name, Size: size, Domain: [16]byte{9, o.domain}, Attrs: attrs}
		id, err := w.DefineStream(d)
		require.NoError(t, err)
		return id
	}
	memory := define(format.StreamMemory, "memory", 0)
	var attrs []format.Attr
	if o.continues != "" {
		attrs = []format.Attr{{Name: "continues", Value: o.continues}}
	}
	vif, disk := format.StreamID(0), format.StreamID(0)
	if len(o.name)%2 == 0 { // their numbers are not those of the other segments
		vif, disk = define(format.StreamNetwork, "vif0", 0), define(format.StreamDisk, "xvda", uint64(len(g.image)), attrs...)
	} else {
		disk, vif = define(format.StreamDisk, "xvda", uint64(len(g.image)), attrs...), define(format.StreamNetwork, "vif0", 0)
	}
	if o.image != nil {
		shoot(t, w, disk, 0, o.from, o.image)
	}
	last := uint32(0)
	ids := uint64(o.from) << 20
	began := map[uint64]bool{}
	for i, r := range g.records {
		h := *r.Header()
		if h.Time < o.from || h.Time > o.to {
			continue
		}
		if i%100 == 50 {
			last = shoot(t, w, memory, last, h.Time, bytes.Repeat([]byte{byte(i)}, pages*format.PageSize))
		}
		switch r := r.(type) {
		case *format.Packet:
			c := *r
			c.Stream = vif
			require.NoError(t, w.Write(&c))
		case *format.DiskRequest:
			c := *r
			c.Stream, c.ID = disk, c.ID+ids
			began[c.ID] = true
			require.NoError(t, w.Write(&c))
		case *format.DiskCompletion:
			c := *r
			c.Stream, c.ID = disk, c.ID+ids
			require.NoError(t, w.Write(&c))
		}
	}
	if o.leave {
		require.NoError(t, w.Close())
	} else {
		require.NoError(t, w.Seal())
	}
	return b.Bytes()
}

func shoot(t testing.TB, w *format.Writer, id format.StreamID, parent uint32, at int64, content []byte) uint32 {
	t.Helper()
	s, err := w.BeginSnapshot(format.SnapshotBegin{Stamp: format.Stamp{Time: at, Stream: id}, Parent: parent, Pages: pages + 8})
	require.NoError(t, err)
	require.NoError(t, w.Write(&format.Attachment{Stamp: format.Stamp{Time: at, Stream: id}, Snapshot: s.ID(), Name: "xen/vcpu/0", Data: content[:9]}))
	for n := range uint64(pages) {
		require.NoError(t, s.Page(n, content[n*format.PageSize:][:format.PageSize]))
	}
	require.NoError(t, s.State(format.Extent{Start: pages, Count: 3}, format.PageBallooned))
	require.NoError(t, s.End(format.SnapshotEnd{Stamp: format.Stamp{Time: at, Stream: id}, ID: s.ID(), Conditions: format.Conditions{Complete: true}}))
	return s.ID()
}

// flight are segments of ten seconds that overlap by two.
func (g *guest) flight(t *testing.T, n int, image bool) []Segment {
	var out []Segment
	for i := range n {
		o := segmentOf{name: fmt.Sprintf("%0*d.xtape", 1+i, i), from: int64(i) * 8 * second, to: int64(i)*8*second + 10*second}
		if i == 0 && image {
			o.image = g.image
		} else if i > 0 {
			o.continues = out[i-1].Name
		}
		if i == n-1 {
			o.to = math.MaxInt64
		}
		out = append(out, g.tape(t, o))
	}
	return out
}

func joined(t *testing.T, segments []Segment, images ...Image) (*format.Reader, []byte, []string) {
	t.Helper()
	var b bytes.Buffer
	w, err := format.NewWriter(&b, format.WriterOptions{Producer: "test", TapeID: [16]byte{1}, Rand: rand.NewChaCha8([32]byte{}), Start: segments[0].Reader.Header().Start})
	require.NoError(t, err)
	losses, err := Tapes(w, segments, images, func(string, uint64) error { return nil })
	require.NoError(t, err)
	require.NoError(t, w.Seal())
	r, err := format.Open(bytes.NewReader(b.Bytes()), int64(b.Len()), format.ReaderOptions{})
	require.NoError(t, err)
	rep, err := format.Verify(bytes.NewReader(b.Bytes()), int64(b.Len()), format.VerifyOptions{})
	require.NoError(t, err)
	require.Empty(t, rep.Damage)
	return r, b.Bytes(), losses
}

// disk is the disk of a tape as it stood at a time.
func disk(t *testing.T, r *format.Reader, until int64) ([]byte, []string) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	require.NoError(t, err)
	defer f.Close()
	ds, err := rebuild.Disks(r, "joined")
	require.NoError(t, err)
	require.Len(t, ds, 1)
	losses, err := rebuild.Chain(f, "", ds, until)
	require.NoError(t, err)
	held, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	return held, losses
}

func packets(t *testing.T, r *format.Reader) (numbers []uint32) {
	t.Helper()
	for rec, err := range r.Records(format.Query{}) {
		require.NoError(t, err)
		if p, ok := rec.(*format.Packet); ok {
			numbers = append(numbers, binary.BigEndian.Uint32(p.Data))
		}
	}
	return numbers
}

// TestSegmentsBecomeTheTapeThatWasNotCut: every packet once, the disk at any time, every
// image of memory.
func TestSegmentsBecomeTheTapeThatWasNotCut(t *testing.T) {
	g := newGuest(34)
	whole := g.tape(t, segmentOf{name: "whole", to: math.MaxInt64, image: g.image})
	segments := g.flight(t, 4, true)
	r, content, losses := joined(t, segments)
	require.Empty(t, losses)
	require.Equal(t, packets(t, whole.Reader), packets(t, r))
	require.Len(t, r.Streams(), 3)
	for _, until := range []int64{3 * second, 8*second + second/2, 9*second + 1, 17 * second, 25*second + 7, math.MaxInt64} {
		want, _ := disk(t, whole.Reader, until)
		got, losses := disk(t, r, until)
		require.Empty(t, losses)
		require.True(t, bytes.Equal(want, got), "at %d", until)
	}
	got, _ := disk(t, r, math.MaxInt64)
	require.True(t, bytes.Equal(g.end, got))

	shots := 0
	for _, s := range segments {
		for _, info := range s.Reader.Snapshots() {
			was, err := s.Reader.Snapshot(info.Begin.ID)
			require.NoError(t, err)
			if info.Begin.Stream != 1 {
				continue // of the disk
			}
			all := r.Snapshots()
			at := shots + 1 // the first is the disk's
			shots++
			is, err := r.Snapshot(all[at].Begin.ID)
			require.NoError(t, err)
			require.Equal(t, info.Begin.Time, is.Info().Begin.Time)
			for n := range uint64(pages + 8) {
				var a, b [format.PageSize]byte
				sa, err := was.ReadPage(n, a[:])
				require.NoError(t, err)
				sb, err := is.ReadPage(n, b[:])
				require.NoError(t, err)
				require.Equal(t, sa, sb)
				require.Equal(t, a, b)
			}
			blob, ok := is.Attachment("xen/vcpu/0")
			require.True(t, ok)
			require.Len(t, blob, 9)
		}
	}
	require.Greater(t, shots, 8)
	_, again, _ := joined(t, g.flight(t, 4, true))
	require.True(t, bytes.Equal(content, again), "the same segments, the same tape")
}

// TestSegmentsGoOnFromAnImage: the ring gave up the first, and kept what it left.
func TestSegmentsGoOnFromAnImage(t *testing.T) {
	g := newGuest(34)
	segments := g.flight(t, 4, true)
	kept, losses := disk(t, segments[0].Reader, math.MaxInt64)
	require.Empty(t, losses)
	image := Image{"xvda", segments[0].Name, content(kept)}
	r, _, losses := joined(t, segments[1:], image)
	require.Empty(t, losses)
	for _, until := range []int64{20 * second, math.MaxInt64} {
		want, _ := disk(t, g.tape(t, segmentOf{name: "whole", to: math.MaxInt64, image: g.image}).Reader, until)
		got, losses := disk(t, r, until)
		require.Empty(t, losses)
		require.True(t, bytes.Equal(want, got), "at %d", until)
	}
	_, _, losses = joined(t, segments[1:])
	require.Equal(t, []string{"xvda goes on from 0.xtape, which is not here and of which no image is given: what was not written since is not known"}, losses)
	w, err := format.NewWriter(&bytes.Buffer{}, format.WriterOptions{Start: segments[2].Reader.Header().Start})
	require.NoError(t, err)
	_, err = Tapes(w, segments[2:], []Image{image}, nil)
	require.ErrorContains(t, err, "from which no disk of")
}

// content is an image of bytes.
type content []byte

func (c content) Extents() []format.Extent {
	return []format.Extent{{Count: uint64(len(c)) / format.PageSize}}
}

func (c content) ReadPage(n uint64, dst []byte) (format.PageState, error) {
	copy(dst, c[n*format.PageSize:][:format.PageSize])
	return format.PageData, nil
}

// TestWhatCannotBeJoined is refused, with the reason.
func TestWhatCannotBeJoined(t *testing.T) {
	g := newGuest(34)
	s := g.flight(t, 4, true)
	for want, segments := range map[string][]Segment{
		"no segments":           nil,
		"begins 6":              {s[0], s[2]},
		"name the segments in":  {s[1], s[0]},
		"does not begin after":  {s[0], s[0]},
		"is of guest 0901":      {s[0], g.tape(t, segmentOf{name: "x", from: 8 * second, to: 20 * second, domain: 1})},
		"not recorded in betwe": {s[0], s[1], s[3]},
	} {
		var start format.Anchor
		if len(segments) > 0 {
			start = segments[0].Reader.Header().Start
		}
		w, err := format.NewWriter(&bytes.Buffer{}, format.WriterOptions{Start: start})
		require.NoError(t, err)
		_, err = Tapes(w, segments, nil, nil)
		require.ErrorContains(t, err, want)
	}
}

// TestCutOffSegment: the next one has what it did not live to see; what was under way
// at its end is said to be unknown.
func TestCutOffSegment(t *testing.T) {
	g := newGuest(9)
	first := g.tape(t, segmentOf{name: "0", to: 8*second + 7*second/10, image: g.image, leave: true})
	next := g.tape(t, segmentOf{name: "1", continues: "0", from: 8 * second, to: math.MaxInt64})
	r, _, losses := joined(t, []Segment{first, next})
	require.Len(t, losses, 2)
	require.Contains(t, losses[0], "not sealed")
	require.Contains(t, losses[1], "1 requests of a disk were under way")
	require.Len(t, packets(t, r), 90)
	held, lost := disk(t, r, math.MaxInt64)
	require.Len(t, lost, 1)
	differ := 0
	for n := range pages * 8 {
		if !bytes.Equal(held[n*512:][:512], g.end[n*512:][:512]) {
			differ++
		}
	}
	require.LessOrEqual(t, differ, 8, "the one request")
}

// FuzzTapes: of whatever is taken for a tape, joining makes a tape that verifies, or says
// why not.
func FuzzTapes(f *testing.F) {
	g := newGuest(4)
	first := g.write(f, segmentOf{name: "0", to: 3 * second, image: g.image})
	next := g.write(f, segmentOf{name: "1", continues: "0", from: second, to: math.MaxInt64})
	f.Add(first, next)
	f.Add(first[:len(first)/2], next)
	f.Add(first, next[:len(next)-10])
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var segments []Segment
		for i, content := range [][]byte{a, b} {
			r, err := format.Open(bytes.NewReader(content), int64(len(content)), format.ReaderOptions{})
			if err != nil {
				return
			}
			segments = append(segments, Segment{fmt.Sprint(i), r})
		}
		var out bytes.Buffer
		w, err := format.NewWriter(&out, format.WriterOptions{TapeID: [16]byte{1}, Rand: rand.NewChaCha8([32]byte{}), Start: segments[0].Reader.Header().Start, Workers: 1})
		if err != nil {
			return
		}
		if _, err := Tapes(w, segments, nil, nil); err != nil {
			require.NoError(t, w.Close())
			return
		}
		require.NoError(t, w.Seal())
		rep, err := format.Verify(bytes.NewReader(out.Bytes()), int64(out.Len()), format.VerifyOptions{})
		require.NoError(t, err)
		require.Empty(t, rep.Damage)
	})
}
