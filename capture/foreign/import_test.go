package foreign

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// importTape imports and opens what came out.
func importTape(t *testing.T, in Inputs) (*format.Reader, Report) {
	t.Helper()
	im, err := NewImport(in)
	require.NoError(t, err)
	defer im.Close()
	var tape bytes.Buffer
	w, err := format.NewWriter(&tape, format.WriterOptions{Producer: "test", Start: im.Start(), Rand: bytes.NewReader(make([]byte, 1<<16))})
	require.NoError(t, err)
	report, err := im.Run(t.Context(), w)
	require.NoError(t, err)
	require.NoError(t, w.Seal())
	r, err := format.Open(bytes.NewReader(tape.Bytes()), int64(tape.Len()), format.ReaderOptions{})
	require.NoError(t, err)
	require.Empty(t, r.Damage())
	return r, report
}

func tapeRecords(t *testing.T, r *format.Reader) []format.Record {
	t.Helper()
	var out []format.Record
	for rec, err := range r.Records(format.Query{}) {
		require.NoError(t, err)
		out = append(out, rec)
	}
	return out
}

func packetsOf(t *testing.T, b []byte) *Packets {
	t.Helper()
	p, err := OpenPackets(bytes.NewReader(b), "test.pcap")
	require.NoError(t, err)
	return p
}

func TestImportInterleavesByTime(t *testing.T) {
	base := bytes.Repeat([]byte("base"), 3000) // not a whole number of pages
	t0 := start.UnixNano()
	log := buildLog(512, 3, []logSpec{
		{sector: 1, sectors: 1, time: t0 + 500}, {flags: 8, mark: "cp1"}, {sector: 2, sectors: 1, time: t0 + 2e6},
	})
	packets := wire(3) // t0, t0+1ms, t0+2ms
	image := openBytes(t, vmcoreOf(guestPages()))
	r, report := importTape(t, Inputs{
		Memory:  []MemoryInput{{Image: image, Time: t0 + 1e6 + 1, Paused: true}},
		Disks:   []DiskInput{{Name: "xvda", Base: bytes.NewReader(base), BaseSize: int64(len(base)), Writes: logOf(t, log)}},
		Packets: []PacketsInput{{Name: "vif0", Packets: packetsOf(t, pcapOf(packets, true))}},
	})
	require.Empty(t, report.Warnings)
	require.Equal(t, Report{Snapshots: 2, Requests: 2, Packets: 3}, report)

	var order []string
	var seq uint64
	for _, rec := range tapeRecords(t, r) {
		h := rec.Header()
		require.Greater(t, h.Seq, seq)
		seq = h.Seq
		switch rec.(type) {
		case *format.Packet:
			order = append(order, "packet")
			require.Equal(t, packets[count(order, "packet")-1].time-t0, h.Time)
		case *format.DiskRequest:
			order = append(order, "write")
		case *format.Mark:
			order = append(order, "mark")
			require.Equal(t, ^uint32(0), h.Uncertainty)
		case *format.SnapshotBegin:
			order = append(order, "snapshot")
		}
	}
	require.Equal(t, []string{"packet", "snapshot", "write", "mark", "packet", "snapshot", "write", "packet"}, order)

	a := r.Anchors()
	require.NotEmpty(t, a)
	require.Equal(t, t0, a[0].Realtime-a[0].Time)
}

func count(all []string, what string) (n int) {
	for _, s := range all {
		if s == what {
			n++
		}
	}
	return n
}

func TestImportedImagesReadBack(t *testing.T) {
	pages := guestPages()
	delete(pages, 0x100000) // a p2m that reaches 4 GiB for ten pages is refused
	delete(pages, 0x100001)
	first := openBytes(t, xenCoreOf(pages, true))
	later := map[uint64][]byte{}
	for n, p := range pages {
		later[n] = bytes.Clone(p)
	}
	later[2][100] ^= 1     // one page changes,
	delete(later, 200)     // one goes,
	later[0x50] = pages[1] // one comes
	second := openBytes(t, xenCoreOf(later, true))
	base := bytes.Repeat([]byte("base"), 3000)
	r, _ := importTape(t, Inputs{
		Memory: []MemoryInput{{Image: first, Time: 1000}, {Image: second, Time: 2000}},
		Disks:  []DiskInput{{Name: "xvda", Base: bytes.NewReader(base), BaseSize: int64(len(base))}},
	})
	infos := r.Snapshots()
	require.Len(t, infos, 3)
	var memory []uint32
	buf := make([]byte, format.PageSize)
	for _, i := range infos {
		s, err := r.Snapshot(i.Begin.ID)
		require.NoError(t, err)
		if i.Begin.Stream == 1 {
			memory = append(memory, i.Begin.ID)
			continue
		}
		var disk []byte
		for n := range uint64(3) {
			_, err := s.ReadPage(n, buf)
			require.NoError(t, err)
			disk = append(disk, buf...)
		}
		require.Equal(t, base, disk[:len(base)])
	}
	require.Len(t, memory, 2)
	for i, want := range []map[uint64][]byte{pages, later} {
		s, err := r.Snapshot(memory[i])
		require.NoError(t, err)
		require.Equal(t, []*MemoryImage{first, second}[i].Extents(), s.Extents())
		for n, p := range want {
			st, err := s.ReadPage(n, buf)
			require.NoError(t, err)
			require.Equal(t, format.PageData, st)
			require.True(t, bytes.Equal(p, buf), "frame %#x", n)
		}
		require.Equal(t, []*MemoryImage{first, second}[i].Attachments(), s.Attachments())
	}
	s, err := r.Snapshot(memory[1])
	require.NoError(t, err)
	require.Equal(t, uint64(2), s.Info().End.Changed)
}

// What could not be read is a gap on the tape, never silence.
func TestImportRecordsDamage(t *testing.T) {
	packets := wire(5)
	file := pcapngOf(packets)
	le.PutUint32(file[bytes.Index(file, []byte(packets[2].data))-24:], 0xfffffff0)
	log := buildLog(512, 2, []logSpec{{sector: 1, sectors: 1, time: start.UnixNano()}, {sector: 2, sectors: 9}})
	core := vmcoreOf(guestPages())
	reader := &failingReader{ReaderAt: bytes.NewReader(core)}
	image, err := OpenMemory(reader, int64(len(core)), "bad disk")
	require.NoError(t, err)
	reader.fail = true
	r, report := importTape(t, Inputs{
		Memory:  []MemoryInput{{Image: image}},
		Disks:   []DiskInput{{Name: "xvda", Writes: logOf(t, log[:len(log)-1])}},
		Packets: []PacketsInput{{Name: "vif0", Packets: packetsOf(t, file)}},
	})
	require.Equal(t, uint64(4), report.Packets)
	byKind := map[format.StreamKind]int{}
	kinds := map[format.StreamID]format.StreamKind{}
	for _, d := range r.Streams() {
		kinds[d.ID] = d.Kind
	}
	for _, g := range r.Gaps() {
		require.Equal(t, format.GapUnreadable, g.Reason)
		byKind[kinds[g.Stream]]++
	}
	require.Equal(t, map[format.StreamKind]int{format.StreamMemory: 1, format.StreamDisk: 1, format.StreamNetwork: 1}, byKind)
	infos := r.Snapshots()
	require.Len(t, infos, 1)
	require.False(t, infos[0].End.Complete)
	s, err := r.Snapshot(infos[0].Begin.ID)
	require.NoError(t, err)
	st, _ := s.ReadPage(1, make([]byte, format.PageSize))
	require.Equal(t, format.PageMissing, st)
}

func TestImportOfSeveralInterfaces(t *testing.T) {
	file := bytes.Join([][]byte{
		section(), ngInterface(option16(2, []byte("eth0"))), ngInterface(option16(2, []byte("eth1"))),
		enhanced(0, 1000, "one"), enhanced(1, 1001, "two"), enhanced(0, 900, "went back"),
		ngBlock(5, bytes.Join([][]byte{{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, option16(5, le.AppendUint64(nil, 17))}, nil)),
	}, nil)
	r, _ := importTape(t, Inputs{Packets: []PacketsInput{{Name: "vif0", Packets: packetsOf(t, file)}}})
	var names []string
	for _, d := range r.Streams() {
		names = append(names, d.Name)
	}
	require.Equal(t, []string{"vif0", "vif0.1"}, names)
	var times []int64
	var data []string
	for _, rec := range tapeRecords(t, r) {
		if p, ok := rec.(*format.Packet); ok {
			times, data = append(times, p.Time), append(data, string(p.Data))
		}
	}
	require.Equal(t, []string{"one", "two", "went back"}, data)
	require.Equal(t, []int64{0, 1000, -100000}, times, "time stamps are kept as they are")
	require.Len(t, r.Gaps(), 1)
	require.Equal(t, uint64(17), r.Gaps()[0].Count)
}

func TestImportIsReproducible(t *testing.T) {
	run := func() []byte {
		im, err := NewImport(Inputs{
			Memory:  []MemoryInput{{Image: openBytes(t, xlSaveOf(guestPages(), true)), Time: start.UnixNano()}},
			Packets: []PacketsInput{{Name: "vif0", Packets: packetsOf(t, pcapOf(wire(20), true))}},
		})
		require.NoError(t, err)
		defer im.Close()
		var tape bytes.Buffer
		w, err := format.NewWriter(&tape, format.WriterOptions{TapeID: [16]byte{1}, Start: im.Start(), Rand: bytes.NewReader(make([]byte, 1<<16))})
		require.NoError(t, err)
		_, err = im.Run(t.Context(), w)
		require.NoError(t, errors.Join(err, w.Seal()))
		return tape.Bytes()
	}
	require.True(t, bytes.Equal(run(), run()))
}

func TestImportOfNothing(t *testing.T) {
	_, err := NewImport(Inputs{})
	require.Error(t, err)
	_, err = NewImport(Inputs{Disks: []DiskInput{{Name: "xvda"}}})
	require.Error(t, err)
	empty := pcapOf(nil, true)
	r, report := importTape(t, Inputs{Packets: []PacketsInput{{Name: "vif0", Packets: packetsOf(t, empty)}}})
	require.Zero(t, report.Packets)
	require.Len(t, r.Streams(), 1, "a capture without packets is a stream without packets")
	_, err = packetsOf(t, empty).Next()
	require.Equal(t, io.EOF, err)
}
