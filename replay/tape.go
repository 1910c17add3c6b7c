package replay

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"filippo.io/age"

	"github.com/xentape/xentape/format"
)

// Options say how to open a tape.
type Options struct {
	Identities []age.Identity // private keys for tapes sealed to recipients
	MaxMemory  int64          // bytes kept of opened chunks; 0: format's own choice
	// OnPage, if not nil, is told of each page that is read of a snapshot, on the
	// goroutine that reads.
	OnPage func(snapshot uint32, page uint64)
}

// Tape is one recording, opened for reading. It is safe for concurrent use.
type Tape struct {
	Name   string // what the user called it
	r      *format.Reader
	clock  *Clock
	src    io.ReaderAt
	closer io.Closer
}

// NotSealed is what to say of a tape that has no end.
const NotSealed = "is not sealed: the recording was cut off, and what came after is not known"

// Open opens a tape file.
func Open(path string, o Options) (*Tape, error) {
	f, size, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	t, err := New(filepath.Base(path), f, size, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	t.closer = f
	return t, nil
}

// OpenFile opens a file that may be a tape, and tells its size in bytes. A tape is a
// regular file: of others there is no size, or no reading at an offset.
func OpenFile(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w: a tape is a regular file", path, fs.ErrInvalid)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, st.Size(), nil
}

// New makes a tape of bytes that are already open. name is for messages.
func New(name string, r io.ReaderAt, size int64, o Options) (*Tape, error) {
	rd, err := format.Open(r, size, format.ReaderOptions{Identities: o.Identities, MaxMemory: o.MaxMemory, OnPage: o.OnPage})
	if err != nil {
		return nil, err
	}
	t := &Tape{Name: name, r: rd, src: r}
	t.clock = NewClock(rd.Anchors(), rd.Header().Start.Time)
	return t, nil
}

// Close releases the file.
func (t *Tape) Close() error {
	if t.closer == nil {
		return nil
	}
	return t.closer.Close()
}

// Refresh takes notice of what a recorder has added since the tape was opened. It
// may not run beside other uses of the tape.
func (t *Tape) Refresh() error {
	f, ok := t.src.(interface{ Stat() (fs.FileInfo, error) })
	if !ok {
		return errors.New("tape does not grow: it is no file")
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := t.r.Refresh(st.Size()); err != nil {
		return err
	}
	t.clock = NewClock(t.r.Anchors(), t.r.Header().Start.Time)
	return nil
}

// Reader gives the container itself.
func (t *Tape) Reader() *format.Reader { return t.r }

// Clock converts the tape's times.
func (t *Tape) Clock() *Clock { return t.clock }

// Streams returns the streams of one kind in the order of their definition.
func (t *Tape) Streams(kind format.StreamKind) []format.StreamDef {
	var out []format.StreamDef
	for _, s := range t.r.Streams() {
		if s.Kind == kind {
			out = append(out, s)
		}
	}
	return out
}

// Moment reads a time as a user writes it; see Clock.ParseMoment. An empty
// string is the end of the tape, @TEXT the moment of the mark with that text.
func (t *Tape) Moment(s string) (Moment, error) {
	if s == "" {
		return End, nil
	}
	if text, ok := strings.CutPrefix(s, "@"); ok {
		return t.mark(text)
	}
	infos := t.Snapshots()
	return t.clock.ParseMoment(s, func(n int) (int64, bool) {
		for _, i := range infos {
			if i.Snapshot == n {
				return i.Time, true
			}
		}
		return 0, false
	})
}

// mark finds the first mark with a text.
func (t *Tape) mark(text string) (Moment, error) {
	for r, err := range t.r.Records(format.Query{Types: []format.RecordType{format.TypeMark}}) {
		if err != nil {
			continue // damage elsewhere
		}
		if m, ok := r.(*format.Mark); ok && m.Text == text {
			return Moment{Time: m.Time}, nil
		}
	}
	return Moment{}, fmt.Errorf("time %q: the tape has no such mark", "@"+text)
}

// memoryStreams tells which streams are guest memory.
func (t *Tape) memoryStreams() map[format.StreamID]format.StreamDef {
	m := map[format.StreamID]format.StreamDef{}
	for _, s := range t.Streams(format.StreamMemory) {
		m[s.ID] = s
	}
	return m
}

// Snapshots describes the memory snapshots of the tape in the order they were
// taken, whole or not.
func (t *Tape) Snapshots() []MemoryInfo {
	streams := t.memoryStreams()
	var out []MemoryInfo
	for _, s := range t.r.Snapshots() {
		def, ok := streams[s.Begin.Stream]
		if !ok {
			continue
		}
		out = append(out, t.memoryInfo(def, s))
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].First < out[j].First })
	for i := range out {
		out[i].Snapshot = i + 1
		out[i].Source = fmt.Sprintf("%s snapshot #%d", t.Name, i+1)
	}
	return out
}

func (t *Tape) memoryInfo(def format.StreamDef, s format.SnapshotInfo) MemoryInfo {
	i := MemoryInfo{ID: s.Begin.ID, Guest: guestType(format.Attribute(def.Attrs, "guest-type")), Xen: format.Attribute(def.Attrs, "xen-version"), First: s.Begin.Seq, Time: s.Begin.Time}
	if s.End != nil {
		i.Conditions, i.Last = s.End.Conditions, s.End.Seq
		i.Time = s.End.Time
		if s.End.PauseDone != 0 {
			i.Time = s.End.PauseDone
		}
	}
	i.Realtime, _ = t.clock.Realtime(i.Time)
	return i
}

func guestType(s string) GuestType {
	switch s {
	case "pv":
		return GuestPV
	case "pvh":
		return GuestPVH
	case "hvm":
		return GuestHVM
	case "bare":
		return GuestBare
	}
	return GuestUnknown
}

// Memory opens memory snapshot n, from 1.
func (t *Tape) Memory(n int) (Memory, error) {
	infos := t.Snapshots()
	if n < 1 || n > len(infos) {
		return nil, fmt.Errorf("%s: there is no memory snapshot #%d: the tape has %d", t.Name, n, len(infos))
	}
	s, err := t.r.Snapshot(infos[n-1].ID)
	if err != nil {
		return nil, fmt.Errorf("%s: memory snapshot #%d: %w", t.Name, n, err)
	}
	return &tapeMemory{Snapshot: s, info: infos[n-1]}, nil
}

// MemoryAt opens the last memory snapshot taken at or before the moment, or the
// one it names.
func (t *Tape) MemoryAt(m Moment) (Memory, error) {
	n := m.Snapshot
	if n == 0 {
		for _, i := range t.Snapshots() {
			if i.Time <= m.Time {
				n = i.Snapshot
			}
		}
	}
	if n == 0 {
		return nil, fmt.Errorf("%s: no memory snapshot had been taken by then", t.Name)
	}
	return t.Memory(n)
}

// tapeMemory is a snapshot of a tape as Memory.
type tapeMemory struct {
	*format.Snapshot
	info MemoryInfo
}

func (m *tapeMemory) Info() MemoryInfo { return m.info }

// End is the tape time of the last record that is known without reading the
// tape's content: the last anchor, snapshot or gap, or what the last records of
// the tape say.
func (t *Tape) End() int64 {
	end := t.clock.Start()
	for _, a := range t.r.Anchors() {
		end = max(end, a.Time)
	}
	for _, s := range t.r.Snapshots() {
		end = max(end, s.Begin.Time)
		if s.End != nil {
			end = max(end, s.End.Time)
		}
	}
	last := t.r.Settled()
	from := uint64(0)
	if last > lastRecords {
		from = last - lastRecords
	}
	for r, err := range t.r.Records(format.Query{FromSeq: from}) {
		if err == nil {
			end = max(end, r.Header().Time)
		}
	}
	return end
}

// lastRecords is how many records at the end of a tape are read to find its end:
// streams run ahead of each other by less.
const lastRecords = 512
