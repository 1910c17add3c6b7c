package synth

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/xentape/xentape/capture/foreign"
	"github.com/xentape/xentape/format"
)

var reasons = map[string]format.GapReason{
	"overflow": format.GapOverflow, "budget": format.GapBudget, "unreadable": format.GapUnreadable, "detached": format.GapDetached,
}

// epoch is the tape's clock at its beginning: a host that has been up for a while.
const epoch = 100 * time.Second

// maker puts a tape together.
type maker struct {
	s       *Scenario
	w       *format.Writer
	dir     string // for images while they are changed
	network format.StreamID
	disks   map[string]format.StreamID
	ext4    map[string]*ext4
	sources map[string]*source
	todo    []entry
}

// entry is a record, or a snapshot, of the tape to be.
type entry struct {
	at     time.Duration // since the beginning
	record format.Record
	put    func(at int64) error // what takes more than one record
}

// Write makes the scenario's tape.
func (s *Scenario) Write(w io.Writer) (err error) {
	m := &maker{s: s, disks: map[string]format.StreamID{}, ext4: map[string]*ext4{}, sources: map[string]*source{}}
	if m.dir, err = os.MkdirTemp("", "xentape-synth"); err != nil {
		return err
	}
	defer os.RemoveAll(m.dir)
	defer func() {
		for _, src := range m.sources {
			err = errors.Join(err, src.f.Close())
		}
	}()
	seed := sha256.Sum256([]byte(s.Name + s.Start.UTC().String()))
	m.w, err = format.NewWriter(w, format.WriterOptions{TapeID: [16]byte(seed[:16]), Producer: "xentape synth", Rand: rand.NewChaCha8(seed),
		Start: format.Anchor{Stamp: format.Stamp{Time: int64(epoch)}, BootID: [16]byte(seed[16:]), Boottime: int64(epoch), Realtime: s.Start.UnixNano()}})
	if err != nil {
		return err
	}
	if err := m.begin(); err != nil {
		return fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	for i, e := range s.Events {
		if err := m.event(i, e); err != nil {
			return fmt.Errorf("scenario %s, at %s: %w", s.Name, time.Duration(e.At), err)
		}
	}
	if err := m.record(); err != nil {
		return fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	return m.w.Seal()
}

// begin defines the streams and writes what is there before anything happens.
func (m *maker) begin() error {
	for _, name := range slices.Sorted(maps.Keys(m.s.Disks)) {
		if err := m.beginDisk(name, m.s.Disks[name]); err != nil {
			return err
		}
	}
	var err error
	m.network, err = m.w.DefineStream(format.StreamDef{Stamp: format.Stamp{Time: int64(epoch)}, Kind: format.StreamNetwork, Name: "vif0", DomID: 1,
		Attrs: []format.Attr{{Name: "method", Value: "synth"}}})
	return err
}

func (m *maker) beginDisk(name string, d Disk) error {
	var image io.ReaderAt
	size := d.Size
	if d.Base == "" {
		e, err := newExt4(m.dir, name, d, m.s.Start)
		if err != nil {
			return err
		}
		m.ext4[name] = e
		f, err := os.Open(e.image)
		if err != nil {
			return err
		}
		defer f.Close()
		image = f
	} else {
		f, err := os.Open(m.s.path(d.Base))
		if err != nil {
			return err
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			return err
		}
		image, size = f, st.Size()
	}
	id, err := m.w.DefineStream(format.StreamDef{Stamp: format.Stamp{Time: int64(epoch)}, Kind: format.StreamDisk, Name: name, DomID: 1, Size: uint64(size),
		Attrs: []format.Attr{{Name: "method", Value: "synth"}}})
	if err != nil {
		return err
	}
	m.disks[name] = id
	if err := m.base(id, image, size); err != nil {
		return fmt.Errorf("disk %s: %w", name, err)
	}
	if d.Writes == "" {
		return nil
	}
	return m.log(id, m.s.path(d.Writes))
}

// base writes a disk's image as it is at the beginning.
func (m *maker) base(id format.StreamID, image io.ReaderAt, size int64) error {
	stamp := format.Stamp{Stream: id, Time: int64(epoch)}
	pages := uint64(size+format.PageSize-1) / format.PageSize
	s, err := m.w.BeginSnapshot(format.SnapshotBegin{Stamp: stamp, Pages: pages})
	if err != nil {
		return err
	}
	page := make([]byte, format.PageSize)
	for n := range pages {
		clear(page)
		if _, err := image.ReadAt(page, int64(n)*format.PageSize); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err := s.Page(n, page); err != nil {
			return err
		}
	}
	return s.End(format.SnapshotEnd{Stamp: stamp, Conditions: format.Conditions{Complete: true, Paused: true, Quiesced: true,
		CopyStart: int64(epoch), CopyEnd: int64(epoch), Examined: pages, Changed: pages, Missed: format.Unknown, Method: "full"}})
}

// log takes a kernel's writes, at the times they had.
func (m *maker) log(id format.StreamID, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	l, err := foreign.OpenLogWrites(f, st.Size(), path)
	if err != nil {
		return err
	}
	var last time.Duration
	for r, err := range l.Records() {
		if err != nil {
			return err
		}
		h := r.Header()
		at := last
		if h.Time != 0 {
			at = time.Duration(h.Time - m.s.Start.UnixNano())
		}
		if at < 0 {
			return fmt.Errorf("%s: a write at %s, before the scenario begins", path, time.Unix(0, h.Time).UTC())
		}
		last, h.Stream, h.Uncertainty = at, id, 0
		m.todo = append(m.todo, entry{at: at, record: r})
	}
	return nil
}

func (m *maker) event(i int, e Event) error {
	at := time.Duration(e.At)
	w := &wire{guest: m.s.Guest.Address, ports: uint16(i) * 4, add: func(at time.Duration, p *format.Packet) {
		p.Stream = m.network
		m.todo = append(m.todo, entry{at: at, record: p})
	}}
	switch {
	case e.TCP != nil:
		return w.tcp(at, e.TCP)
	case e.HTTP != nil:
		return w.http(at, e.HTTP, m.s.path)
	case e.DNS != nil:
		return w.dns(at, e.DNS)
	case e.Gap != nil:
		return m.gap(at, e.Gap)
	case e.Memory != nil:
		return m.memory(at, e.Memory)
	}
	writes, err := m.ext4[e.File.Disk].change(m.s.Start.Add(at), e.File)
	if err != nil {
		return err
	}
	for _, r := range writes {
		r.Stream, r.ID = m.disks[e.File.Disk], uint64(len(m.todo)+1)
		m.todo = append(m.todo, entry{at: at, record: &r})
	}
	return nil
}

func (m *maker) gap(at time.Duration, g *GapEvent) error {
	id, ok := m.disks[g.Stream]
	if g.Stream == "vif0" {
		id, ok = m.network, true
	}
	if !ok {
		return fmt.Errorf("gap: no stream %q", g.Stream)
	}
	count := g.Count
	if count == 0 {
		count = format.Unknown
	}
	m.todo = append(m.todo, entry{at: time.Duration(g.Until), record: &format.Gap{Stamp: format.Stamp{Stream: id},
		From: int64(epoch + at), To: int64(epoch + time.Duration(g.Until)), Reason: reasons[g.Reason], Count: count, Detail: "as the scenario says"}})
	return nil
}

// hidden reports whether a gap of the scenario hides a record.
func (m *maker) hidden(e entry) bool {
	if e.record == nil {
		return false
	}
	if _, ok := e.record.(*format.Gap); ok {
		return false
	}
	for _, v := range m.s.Events {
		if g := v.Gap; g != nil && g.Hide && e.at >= time.Duration(v.At) && e.at < time.Duration(g.Until) {
			id := m.network
			if d, ok := m.disks[g.Stream]; ok {
				id = d
			}
			if e.record.Header().Stream == id {
				return true
			}
		}
	}
	return false
}

// record writes everything in the order of time.
func (m *maker) record() error {
	slices.SortStableFunc(m.todo, func(a, b entry) int { return cmp.Compare(a.at, b.at) })
	for _, e := range m.todo {
		if m.hidden(e) {
			continue
		}
		at := int64(epoch + e.at)
		var err error
		if e.put != nil {
			err = e.put(at)
		} else {
			e.record.Header().Time = at
			err = m.w.Write(e.record)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
