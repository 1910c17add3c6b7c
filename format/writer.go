package format

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// A Writer writes a tape to an append-only file. Its methods may be called from
// several goroutines; the order in which they take the Writer's lock is the
// order of sequence numbers. Once the file has failed every method returns that
// error.
type Writer struct {
	mu     sync.Mutex
	opts   WriterOptions
	secret [32]byte
	pipe   *pipeline
	sealer *sealer
	closed bool

	number  uint64 // last chunk number given
	cut     int    // chunks since the last index
	seq     uint64 // last sequence number given
	whole   uint64 // last record that is wholly in its lane
	streams map[StreamID]StreamDef
	order   []StreamID
	lanes   map[StreamKind]*lane
	kinds   []StreamKind // of lanes, ascending
	repeat  lane         // copies of the records a reader needs to begin, since the last index
	store   *pageStore
	lastID  uint32 // last snapshot id given
	scratch []byte

	spooling bool // a snapshot has the spool
}

// NewWriter begins a tape. w is only appended to.
func NewWriter(w io.Writer, o WriterOptions) (*Writer, error) {
	o.setDefaults()
	if o.ChunkSize < PageSize || o.ChunkSize > MaxChunk/2 {
		return nil, fmt.Errorf("chunk size %d: not between %d and %d", o.ChunkSize, PageSize, MaxChunk/2)
	}
	t := &Writer{opts: o, streams: map[StreamID]StreamDef{}, lanes: map[StreamKind]*lane{}}
	if _, err := io.ReadFull(o.Rand, t.secret[:]); err != nil {
		return nil, fmt.Errorf("draw the tape's secret: %w", err)
	}
	if o.TapeID == ([16]byte{}) {
		if _, err := io.ReadFull(o.Rand, t.opts.TapeID[:]); err != nil {
			return nil, fmt.Errorf("draw the tape's id: %w", err)
		}
	}
	h := FileHeader{Major: Major, Minor: Minor, TapeID: t.opts.TapeID, Producer: o.Producer, Start: o.Start}
	if len(o.Recipients) > 0 {
		h.Incompat |= FeatureSealed
		t.sealer = &sealer{recipients: o.Recipients, rand: o.Rand, tape: t.opts.TapeID}
	}
	if o.Signer != nil {
		h.Signer = o.Signer.Public()
	}
	p, err := startPipeline(w, h, o.Workers, o.Compressor)
	if err != nil {
		return nil, err
	}
	t.pipe = p
	p.em.signer = o.Signer
	t.store = newPageStore(t.secret, o.DedupePages, o.DeltaMemory)
	if _, err := io.WriteString(w, Magic); err != nil {
		p.stop()
		return nil, fmt.Errorf("write magic: %w", err)
	}
	p.em.offset = int64(len(Magic))
	for range 2 {
		t.submit(&draft{head: chunkHead{Type: chunkHeader}, plain: h.append(nil)})
	}
	return t, nil
}

// TapeID names the tape.
func (w *Writer) TapeID() [16]byte { return w.opts.TapeID }

// submit numbers a chunk and sends it on its way. Called with mu held.
func (w *Writer) submit(d *draft) {
	if d.head.Type == chunkRecords || d.head.Type == chunkRepeat || d.head.Type == chunkPages || d.head.Type == chunkMap {
		w.sealDraft(d)
	}
	w.number++
	w.cut++
	d.head.Number, d.head.Tape = w.number, w.opts.TapeID
	w.pipe.submit(d)
}

func (w *Writer) ready() error {
	if w.closed {
		return ErrClosed
	}
	return w.pipe.em.failed()
}

// DefineStream begins a stream and returns its ID. The definition is in the
// file, as far as the Writer is concerned, before any record of the stream.
func (w *Writer) DefineStream(d StreamDef) (StreamID, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.ready(); err != nil {
		return 0, err
	}
	if d.Kind > maxLane {
		return 0, fmt.Errorf("stream %q: kind %d: the format allows %d", d.Name, d.Kind, maxLane)
	}
	d.ID = StreamID(len(w.order) + 1)
	d.Stream = d.ID
	if err := w.append(&d, StreamTape, d.Kind); err != nil {
		return 0, err
	}
	w.streams[d.ID] = d
	w.order = append(w.order, d.ID)
	w.cutLane(w.lanes[StreamTape])
	return d.ID, w.checkpointIfDue()
}

// Write commits a record: its sequence number is assigned in place, and what
// the record points to may be changed once Write has returned. Stream
// definitions and snapshots have methods of their own.
func (w *Writer) Write(r Record) error {
	switch r.(type) {
	case *StreamDef, *SnapshotBegin, *SnapshotEnd:
		return fmt.Errorf("write %T: use DefineStream or BeginSnapshot", r)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.ready(); err != nil {
		return err
	}
	kind, err := w.kindOf(r.Header().Stream)
	if err != nil {
		return err
	}
	if err := w.append(r, kind, kind); err != nil {
		return err
	}
	return w.checkpointIfDue()
}

func (w *Writer) kindOf(id StreamID) (StreamKind, error) {
	if id == 0 {
		return StreamTape, nil
	}
	d, ok := w.streams[id]
	if !ok {
		return 0, fmt.Errorf("stream %d: not defined", id)
	}
	return d.Kind, nil
}

// append encodes a record into its lane. Called with mu held.
func (w *Writer) append(r Record, laneKind, kind StreamKind) error {
	if err := checkRecord(r); err != nil {
		return err
	}
	s := r.Header()
	s.Seq = w.seq + 1
	if a, ok := r.(*Attachment); ok && len(a.Data) > w.opts.ChunkSize {
		return w.appendParts(a, laneKind, kind)
	}
	b, err := AppendRecord(w.scratch[:0], r)
	w.scratch = b[:0]
	if err != nil {
		return err
	}
	if len(b) > MaxRecord {
		return fmt.Errorf("record of %d bytes: the format allows %d", len(b), MaxRecord)
	}
	w.seq++
	t := TypeOf(r)
	w.addTo(w.laneFor(laneKind), b, s, t, kind, true, true)
	if t == TypeAnchor || t == TypeGap || t == TypeSnapshotBegin || t == TypeSnapshotEnd {
		w.addTo(&w.repeat, b, s, t, kind, true, true)
	}
	return nil
}

// appendParts stores an attachment that does not fit one chunk.
func (w *Writer) appendParts(a *Attachment, laneKind, kind StreamKind) error {
	if len(a.Data) > MaxAttachment {
		return fmt.Errorf("attachment %q of %d bytes: the format allows %d", a.Name, len(a.Data), MaxAttachment)
	}
	w.seq++
	part := w.opts.ChunkSize * 3 / 4
	for off := 0; off < len(a.Data); off += part {
		p := a.Data[off:min(off+part, len(a.Data))]
		w.scratch = appendAttachment(w.scratch[:0], a, uint64(len(a.Data)), uint64(off), p)
		w.addTo(w.laneFor(laneKind), w.scratch, &a.Stamp, TypeAttachment, kind, off == 0, off+part >= len(a.Data))
	}
	return nil
}

func (w *Writer) laneFor(k StreamKind) *lane {
	l := w.lanes[k]
	if l == nil {
		l = &lane{kind: k}
		w.lanes[k] = l
		w.kinds = append(w.kinds, k)
	}
	return l
}

const maxStreamsPerChunk = 1024 // keeps the meta well below its limit

func (w *Writer) addTo(l *lane, rec []byte, s *Stamp, t RecordType, kind StreamKind, begins, ends bool) {
	if !l.empty() && (len(l.body)+len(rec) > w.opts.ChunkSize || len(l.streams) >= maxStreamsPerChunk) {
		w.cutLane(l)
	}
	l.add(rec, s, t, kind, begins)
	if ends {
		w.whole = s.Seq
	}
	if len(l.body) >= w.opts.ChunkSize {
		w.cutLane(l)
	}
}

// cutLane sends what a lane has collected. Called with mu held.
func (w *Writer) cutLane(l *lane) {
	if l == nil || l.empty() {
		return
	}
	t, settled := chunkRecords, w.whole
	if l == &w.repeat {
		t = chunkRepeat
	}
	for _, k := range w.kinds {
		if o := w.lanes[k]; o != l && !o.empty() {
			settled = min(settled, o.meta.FirstSeq-1)
		}
	}
	w.submit(l.take(t, settled, chunkSalt(w.secret[:], w.number)))
}

// cutAll sends everything collected. Called with mu held.
func (w *Writer) cutAll() {
	for _, k := range w.kinds {
		w.cutLane(w.lanes[k])
	}
	w.store.cutAll(w)
}

func (w *Writer) checkpointIfDue() error {
	if w.cut >= w.opts.CheckpointEvery {
		w.checkpoint()
	}
	return nil
}

// checkpoint sends everything, then an index and a tree head. Called with mu held.
func (w *Writer) checkpoint() {
	w.cutAll()
	w.repeatStart()
	for left := w.cut; left >= 0; left -= maxIndex {
		w.submit(&draft{head: chunkHead{Type: chunkIndex}, build: (*emitter).buildIndex})
	}
	w.submit(&draft{head: chunkHead{Type: chunkCheckpoint}, build: (*emitter).buildCheckpoint})
	w.cut = 0
	if w.sealer != nil {
		w.sealer.rotate()
	}
}

// repeatStart completes the copies: all stream definitions, then what came
// since the last index.
func (w *Writer) repeatStart() {
	defs := lane{kind: StreamTape}
	for _, id := range w.order {
		d := w.streams[id]
		b, err := AppendRecord(w.scratch[:0], &d)
		if err != nil {
			continue // definitions were encoded once when they were accepted
		}
		w.scratch = b[:0]
		if !defs.empty() && (len(defs.body)+len(b) > w.opts.ChunkSize || len(defs.streams) >= maxStreamsPerChunk) {
			w.submit(defs.take(chunkRepeat, w.seq, chunkSalt(w.secret[:], w.number)))
		}
		defs.add(b, &d.Stamp, TypeStreamDef, d.Kind, true)
	}
	if !defs.empty() {
		w.submit(defs.take(chunkRepeat, w.seq, chunkSalt(w.secret[:], w.number)))
	}
	w.cutLane(&w.repeat)
}

// Flush waits until everything written so far is in the file as whole chunks.
func (w *Writer) Flush() error {
	w.mu.Lock()
	if err := w.ready(); err != nil {
		w.mu.Unlock()
		return err
	}
	w.cutAll()
	wake := make(chan struct{})
	w.pipe.submit(&draft{after: func() { close(wake) }})
	w.mu.Unlock()
	<-wake
	return w.pipe.em.failed()
}

// Checkpoint is Flush with an index and a tree head, signed when there is a
// signer: what was written before can from now on not be changed unnoticed.
func (w *Writer) Checkpoint() error {
	w.mu.Lock()
	if err := w.ready(); err != nil {
		w.mu.Unlock()
		return err
	}
	w.checkpoint()
	w.mu.Unlock()
	return w.Flush()
}

// Seal completes the tape: last index, last tree head, footer. No method may be
// called after it.
func (w *Writer) Seal() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.ready(); err != nil {
		return errors.Join(err, w.stop())
	}
	w.checkpoint()
	last := w.seq
	w.submit(&draft{head: chunkHead{Type: chunkFooter}, build: func(e *emitter, d *draft) error { return e.buildFooter(d, last) }})
	return w.stop()
}

// Close ends writing without sealing, after a flush: the tape stays readable
// and is seen to be unfinished. After Seal it does nothing.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.cutAll()
	return w.stop()
}

func (w *Writer) stop() error {
	if w.closed {
		return nil
	}
	w.closed = true
	w.pipe.stop()
	if w.sealer != nil {
		w.sealer.rotate()
	}
	clear(w.secret[:])
	return w.pipe.em.failed()
}
