package format

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// codec says how a body was compressed.
type codec uint8

const (
	codecNone codec = 0
	codecZstd codec = 1
)

// bodyMeta begins the meta of every chunk with a body.
type bodyMeta struct {
	Codec codec
	Epoch uint32 // key epoch, 0 when not sealed
}

func (m *bodyMeta) append(b []byte) []byte {
	b = append(b, byte(m.Codec))
	return binary.AppendUvarint(b, uint64(m.Epoch))
}

func (d *decoder) bodyMeta() bodyMeta {
	m := bodyMeta{Codec: codec(d.uint8("codec")), Epoch: d.uint32("epoch")}
	if m.Codec > codecZstd {
		d.fail("codec", fmt.Errorf("%d: unknown", m.Codec))
	}
	return m
}

// streamCount says how many records of a stream a chunk holds, and how many of
// them are gaps: the part of a sealed tape's content that is never sealed.
type streamCount struct {
	ID    StreamID
	Kind  StreamKind
	Count uint64
	Gaps  uint64
}

// maxSeq bounds sequence numbers: one more is always a number.
const maxSeq = 1 << 62

// maxLane bounds the kinds of stream, and with them the chunks that a reader
// who joins the lanes holds open.
const maxLane StreamKind = 15

// recordsMeta describes a records chunk without opening it (SPEC.md §4.3).
type recordsMeta struct {
	bodyMeta
	Lane             StreamKind
	Count            uint64 // records that begin here; later parts of an attachment are not counted
	FirstSeq         uint64
	LastSeq          uint64
	Settled          uint64 // every record up to this number is in this chunk or an earlier one
	MinTime, MaxTime int64
	Types            uint64 // bit n: a record of type n is inside
	Root             [32]byte
	Streams          []streamCount
}

func (m *recordsMeta) append(b []byte) []byte {
	b = m.bodyMeta.append(b)
	b = append(b, byte(m.Lane))
	b = binary.AppendUvarint(b, m.Count)
	b = binary.AppendUvarint(b, m.FirstSeq)
	b = binary.AppendUvarint(b, m.LastSeq-m.FirstSeq)
	b = binary.AppendUvarint(b, m.Settled)
	b = appendZigzag(b, m.MinTime)
	b = binary.AppendUvarint(b, uint64(m.MaxTime)-uint64(m.MinTime))
	b = binary.AppendUvarint(b, m.Types)
	b = append(b, m.Root[:]...)
	b = binary.AppendUvarint(b, uint64(len(m.Streams)))
	for _, s := range m.Streams {
		b = binary.AppendUvarint(b, uint64(s.ID))
		b = append(b, byte(s.Kind))
		b = binary.AppendUvarint(b, s.Count)
		b = binary.AppendUvarint(b, s.Gaps)
	}
	return b
}

func parseRecordsMeta(b []byte) (*recordsMeta, error) {
	d := &decoder{b: b}
	m := &recordsMeta{bodyMeta: d.bodyMeta(), Lane: StreamKind(d.uint8("lane")), Count: d.uint("count"), FirstSeq: d.uint("first sequence")}
	m.LastSeq = m.FirstSeq + d.uint("last sequence")
	m.Settled = d.uint("settled")
	m.MinTime = d.zigzag("first time")
	m.MaxTime = int64(uint64(m.MinTime) + d.uint("last time"))
	m.Types = d.uint("types")
	d.fixed("root", m.Root[:])
	m.Streams = make([]streamCount, d.count("streams", 4, maxStreamsPerChunk+1))
	for i := range m.Streams {
		m.Streams[i] = streamCount{
			ID: StreamID(d.uint32("stream")), Kind: StreamKind(d.uint8("stream kind")),
			Count: d.uint("stream count"), Gaps: d.uint("stream gaps"),
		}
	}
	if d.err == nil && m.Lane > maxLane {
		d.fail("lane", fmt.Errorf("%d is more than %d", m.Lane, maxLane))
	}
	if d.err == nil && (m.LastSeq < m.FirstSeq || m.LastSeq > maxSeq || m.Settled > maxSeq) {
		d.fail("sequence", fmt.Errorf("%d to %d, settled %d: out of range", m.FirstSeq, m.LastSeq, m.Settled))
	}
	if d.err == nil && m.MaxTime < m.MinTime {
		d.fail("last time", errors.New("overflows"))
	}
	if d.err != nil {
		return nil, fmt.Errorf("meta: %w", d.err)
	}
	return m, nil
}

func (m *recordsMeta) hasType(t RecordType) bool { return t < 64 && m.Types>>t&1 == 1 }

// pagesMeta describes a pages or map chunk: enough to say which pages of which
// snapshot are lost with it, and to rebuild a lost SnapshotBegin.
type pagesMeta struct {
	bodyMeta
	Stream   StreamID
	Snapshot uint32
	Parent   uint32
	Limit    uint64 // SnapshotBegin.Pages
	Part     uint32 // ordinal among the snapshot's pages chunks, or its map chunks, from 0
	Pack     uint32 // name by which pages of this chunk are referred to, from 1; 0 in a map chunk
	Slots    uint32 // page contents held
	Restated uint64 // pages stated again in this snapshot before this chunk
	Again    uint64 // pages stated again in this chunk
	Lo, Hi   uint64 // map chunks: the page numbers covered, [Lo, Hi)
	Final    bool   // pages chunks: the snapshot's last
	Full     bool   // map chunks: states every page, also those of the parent
	// Commit is over the slots of a pages chunk, the runs of a map chunk; nil in
	// tapes of version 1.0.
	Commit *commitment
}

func (m *pagesMeta) append(b []byte) []byte {
	b = m.bodyMeta.append(b)
	for _, v := range [...]uint64{
		uint64(m.Stream), uint64(m.Snapshot), uint64(m.Parent), m.Limit, uint64(m.Part),
		uint64(m.Pack), uint64(m.Slots), m.Restated, m.Again, m.Lo, m.Hi,
	} {
		b = binary.AppendUvarint(b, v)
	}
	b = appendBool(appendBool(b, m.Final), m.Full)
	if m.Commit == nil {
		return b
	}
	b = binary.AppendUvarint(b, m.Commit.leaves)
	return append(b, m.Commit.root[:]...)
}

func parsePagesMeta(b []byte) (*pagesMeta, error) {
	d := &decoder{b: b}
	m := &pagesMeta{
		bodyMeta: d.bodyMeta(), Stream: StreamID(d.uint32("stream")), Snapshot: d.uint32("snapshot"),
		Parent: d.uint32("parent"), Limit: d.uint("pages"), Part: d.uint32("part"), Pack: d.uint32("pack"),
		Slots: uint32(d.uintMax("slots", MaxChunk/PageSize)), Restated: d.uint("restated"), Again: d.uint("again"),
		Lo: d.uint("low page"), Hi: d.uint("high page"), Final: d.bool("final"), Full: d.bool("full"),
	}
	if d.err == nil && len(d.b) > 0 {
		m.Commit = &commitment{leaves: d.uintMax("leaves", runsPerChunk)}
		d.fixed("root", m.Commit.root[:])
	}
	if d.err != nil {
		return nil, fmt.Errorf("meta: %w", d.err)
	}
	return m, nil
}

// FileHeader says what a tape is. It is written twice at the start and again in
// each index.
type FileHeader struct {
	Major    uint8    `json:"major"`
	Minor    uint8    `json:"minor"`
	Incompat uint64   `json:"incompat"` // features a reader must know to read the tape
	Compat   uint64   `json:"compat"`   // features a reader may ignore
	TapeID   [16]byte `json:"tape_id"`
	Producer string   `json:"producer"`
	Start    Anchor   `json:"start"`
	Signer   []byte   `json:"signer,omitempty"` // Ed25519 public key of the first checkpoint; nil when unsigned
}

// Versions and features this package writes.
const (
	Major = 1
	Minor = 1

	// FeatureSealed marks a tape whose content is encrypted to recipients.
	FeatureSealed uint64 = 1 << 0

	knownIncompat = FeatureSealed
)

func (h *FileHeader) append(b []byte) []byte {
	b = append(b, h.Major, h.Minor)
	b = binary.AppendUvarint(b, h.Incompat)
	b = binary.AppendUvarint(b, h.Compat)
	b = append(b, h.TapeID[:]...)
	b = appendString(b, h.Producer)
	b = appendStamp(b, &h.Start.Stamp)
	b = appendAnchor(b, &h.Start)
	return appendBytes(b, h.Signer)
}

func parseFileHeader(b []byte) (FileHeader, error) {
	d := &decoder{b: b}
	h := FileHeader{Major: d.uint8("major version"), Minor: d.uint8("minor version"), Incompat: d.uint("incompatible features"), Compat: d.uint("compatible features")}
	d.fixed("tape id", h.TapeID[:])
	h.Producer = d.string("producer")
	s := Stamp{Seq: d.uint("sequence"), Time: d.zigzag("time"), Uncertainty: d.uint32("uncertainty"), Stream: StreamID(d.uint32("stream"))}
	h.Start = *d.anchor(s)
	if k := d.bytes("signer"); len(k) > 0 {
		h.Signer = append([]byte(nil), k...)
	}
	if d.err != nil {
		return h, fmt.Errorf("file header: %w", d.err)
	}
	if h.Major != Major {
		return h, fmt.Errorf("file header: major version %d, this reader knows %d: %w", h.Major, Major, ErrUnsupported)
	}
	if u := h.Incompat &^ knownIncompat; u != 0 {
		return h, fmt.Errorf("file header: features %#x: %w", u, ErrUnsupported)
	}
	return h, nil
}
