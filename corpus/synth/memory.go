package synth

import (
	"fmt"
	"os"
	"time"

	"github.com/xentape/xentape/format"
)

// source is a recorded tape that memory is taken from.
type source struct {
	f      *os.File
	r      *format.Reader
	stream format.StreamID // in the new tape; 0 until its first snapshot
	last   uint32          // the snapshot written before, in the new tape
}

// memory puts a snapshot of a recorded tape on this one: its frames, its
// attachments, and how it was taken, at another time.
func (m *maker) memory(at time.Duration, e *MemoryEvent) error {
	path := m.s.path(e.Tape)
	src := m.sources[path]
	if src == nil {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		src = &source{f: f}
		m.sources[path] = src
		st, err := f.Stat()
		if err != nil {
			return err
		}
		if src.r, err = format.Open(f, st.Size(), format.ReaderOptions{}); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	def, info, err := src.find(e.Snapshot)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	m.todo = append(m.todo, entry{at: at, put: func(at int64) error { return m.copySnapshot(src, def, info, at) }})
	return nil
}

// find returns memory snapshot n, from 1, and its stream.
func (s *source) find(n int) (format.StreamDef, format.SnapshotInfo, error) {
	defs := map[format.StreamID]format.StreamDef{}
	for _, d := range s.r.Streams() {
		if d.Kind == format.StreamMemory {
			defs[d.ID] = d
		}
	}
	k := 0
	for _, i := range s.r.Snapshots() {
		d, ok := defs[i.Begin.Stream]
		if !ok {
			continue
		}
		if k++; k == n && i.End != nil {
			return d, i, nil
		}
	}
	return format.StreamDef{}, format.SnapshotInfo{}, fmt.Errorf("no whole memory snapshot %d: the tape has %d", n, k)
}

func (m *maker) copySnapshot(src *source, def format.StreamDef, info format.SnapshotInfo, at int64) error {
	if src.stream == 0 {
		def.Stamp = format.Stamp{Time: at}
		id, err := m.w.DefineStream(def)
		if err != nil {
			return err
		}
		src.stream = id
	}
	s, err := src.r.Snapshot(info.Begin.ID)
	if err != nil {
		return err
	}
	stamp := format.Stamp{Stream: src.stream, Time: at}
	w, err := m.w.BeginSnapshot(format.SnapshotBegin{Stamp: stamp, Parent: src.last, Pages: info.Begin.Pages})
	if err != nil {
		return err
	}
	src.last = w.ID()
	page := make([]byte, format.PageSize)
	for n := range info.Begin.Pages {
		st, err := s.ReadPage(n, page)
		if err != nil {
			return err
		}
		if st == format.PageData || st == format.PageZero {
			err = w.Page(n, page)
		} else {
			err = w.State(format.Extent{Start: n, Count: 1}, st)
		}
		if err != nil {
			return err
		}
	}
	for _, name := range s.Attachments() {
		data, _ := s.Attachment(name)
		if err := m.w.Write(&format.Attachment{Stamp: stamp, Snapshot: w.ID(), Name: name, Data: data}); err != nil {
			return err
		}
	}
	end := format.SnapshotEnd{Stamp: stamp, Conditions: info.End.Conditions}
	// The moment is the scenario's, the lengths of time are the recording's.
	shift := func(t *int64) {
		if *t != 0 {
			*t += at - info.End.Time
		}
	}
	for _, t := range []*int64{&end.CopyStart, &end.PauseCall, &end.PauseDone, &end.Quiet, &end.CopyEnd, &end.Unpause} {
		shift(t)
	}
	return w.End(end)
}
