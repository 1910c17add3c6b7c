package format

import (
	"encoding/binary"
	"fmt"
)

// RecordType is the type of a record as stored (REGISTRY.md).
type RecordType uint8

// The types of record.
const (
	TypeStreamDef      RecordType = 1
	TypeAnchor         RecordType = 2
	TypeGap            RecordType = 3
	TypePacket         RecordType = 4
	TypeDiskRequest    RecordType = 5
	TypeDiskCompletion RecordType = 6
	TypeSnapshotBegin  RecordType = 7
	TypeSnapshotEnd    RecordType = 8
	TypeAttachment     RecordType = 9
	TypeEvent          RecordType = 10
	TypeMark           RecordType = 11
)

// TypeOf returns the type under which a record is stored; 0 if it is none.
func TypeOf(r Record) RecordType {
	switch r.(type) {
	case *StreamDef:
		return TypeStreamDef
	case *Anchor:
		return TypeAnchor
	case *Gap:
		return TypeGap
	case *Packet:
		return TypePacket
	case *DiskRequest:
		return TypeDiskRequest
	case *DiskCompletion:
		return TypeDiskCompletion
	case *SnapshotBegin:
		return TypeSnapshotBegin
	case *SnapshotEnd:
		return TypeSnapshotEnd
	case *Attachment:
		return TypeAttachment
	case *Event:
		return TypeEvent
	case *Mark:
		return TypeMark
	}
	return 0
}

// AppendRecord appends the stored form of a record (SPEC.md §5): type, stamp,
// fields, without the length that precedes it in a chunk.
func AppendRecord(b []byte, r Record) ([]byte, error) {
	t := TypeOf(r)
	if t == 0 {
		return b, fmt.Errorf("record of type %T: unknown", r)
	}
	if a, ok := r.(*Attachment); ok {
		return appendAttachment(b, a, uint64(len(a.Data)), 0, a.Data), nil
	}
	b = appendStamp(append(b, byte(t)), r.Header())
	switch r := r.(type) {
	case *StreamDef:
		b = appendStreamDef(b, r)
	case *Anchor:
		b = appendAnchor(b, r)
	case *Gap:
		b = appendGap(b, r)
	case *Packet:
		b = appendPacket(b, r)
	case *DiskRequest:
		b = appendDiskRequest(b, r)
	case *DiskCompletion:
		b = binary.AppendUvarint(b, r.ID)
		b = appendZigzag(b, int64(r.Status))
	case *SnapshotBegin:
		b = binary.AppendUvarint(b, uint64(r.ID))
		b = binary.AppendUvarint(b, uint64(r.Parent))
		b = binary.AppendUvarint(b, r.Pages)
	case *SnapshotEnd:
		b = binary.AppendUvarint(b, uint64(r.ID))
		b = appendConditions(b, &r.Conditions)
	case *Event:
		b = appendString(b, r.Kind)
		b = appendAttrs(b, r.Attrs)
	case *Mark:
		b = appendString(b, r.Text)
	}
	return b, nil
}

func appendStamp(b []byte, s *Stamp) []byte {
	b = binary.AppendUvarint(b, s.Seq)
	b = appendZigzag(b, s.Time)
	b = binary.AppendUvarint(b, uint64(s.Uncertainty))
	return binary.AppendUvarint(b, uint64(s.Stream))
}

func appendAttrs(b []byte, as []Attr) []byte {
	b = binary.AppendUvarint(b, uint64(len(as)))
	for _, a := range as {
		b = appendString(b, a.Name)
		b = appendString(b, a.Value)
	}
	return b
}

func appendExtents(b []byte, es []Extent) []byte {
	b = binary.AppendUvarint(b, uint64(len(es)))
	for _, e := range es {
		b = binary.AppendUvarint(b, e.Start)
		b = binary.AppendUvarint(b, e.Count)
	}
	return b
}

func appendStreamDef(b []byte, r *StreamDef) []byte {
	b = binary.AppendUvarint(b, uint64(r.ID))
	b = append(b, byte(r.Kind))
	b = appendString(b, r.Name)
	b = append(b, r.Domain[:]...)
	b = binary.AppendUvarint(b, uint64(r.DomID))
	b = binary.AppendUvarint(b, uint64(r.Epoch))
	b = binary.AppendUvarint(b, r.Size)
	return appendAttrs(b, r.Attrs)
}

func appendAnchor(b []byte, r *Anchor) []byte {
	b = append(b, r.BootID[:]...)
	b = appendZigzag(b, r.Boottime)
	b = appendZigzag(b, r.Realtime)
	b = appendZigzag(b, r.TAI)
	b = binary.AppendUvarint(b, uint64(r.Bracket))
	b = appendBool(b, r.Stepped)
	b = binary.AppendUvarint(b, r.TSC)
	return appendZigzag(b, r.XenSystem)
}

func appendGap(b []byte, r *Gap) []byte {
	b = appendZigzag(b, r.From)
	b = appendZigzag(b, r.To)
	b = append(b, byte(r.Reason))
	b = binary.AppendUvarint(b, r.Count)
	b = appendExtents(b, r.Extents)
	return appendString(b, r.Detail)
}

func appendPacket(b []byte, r *Packet) []byte {
	b = binary.AppendUvarint(b, uint64(r.LinkType))
	b = append(b, byte(r.Direction))
	b = binary.AppendUvarint(b, uint64(r.OrigLen))
	b = appendBool(b, r.VNet != nil)
	if v := r.VNet; v != nil {
		b = append(b, v.Flags, v.GSOType)
		for _, f := range [...]uint16{v.HdrLen, v.GSOSize, v.CsumStart, v.CsumOffset} {
			b = binary.AppendUvarint(b, uint64(f))
		}
	}
	b = appendString(b, r.Comment)
	return appendBytes(b, r.Data)
}

func appendDiskRequest(b []byte, r *DiskRequest) []byte {
	b = binary.AppendUvarint(b, r.ID)
	b = append(b, byte(r.Op))
	b = binary.AppendUvarint(b, uint64(r.Flags))
	b = binary.AppendUvarint(b, r.Offset)
	b = binary.AppendUvarint(b, r.Length)
	return appendBytes(b, r.Data)
}

func appendConditions(b []byte, c *Conditions) []byte {
	var flags byte
	for i, f := range [...]bool{c.Paused, c.Fuzzy, c.Quiesced, c.Complete} {
		if f {
			flags |= 1 << i
		}
	}
	b = append(b, flags)
	for _, t := range [...]int64{c.CopyStart, c.PauseCall, c.PauseDone, c.Quiet, c.CopyEnd, c.Unpause} {
		b = appendZigzag(b, t)
	}
	b = binary.AppendUvarint(b, uint64(c.InFlight))
	for _, n := range [...]uint64{c.Examined, c.Changed, c.Missed} {
		b = binary.AppendUvarint(b, n)
	}
	return appendString(b, c.Method)
}

// appendAttachment encodes one part of an attachment. Parts share the sequence
// number; offset and total say where the part belongs.
func appendAttachment(b []byte, r *Attachment, total, offset uint64, part []byte) []byte {
	b = appendStamp(append(b, byte(TypeAttachment)), &r.Stamp)
	b = binary.AppendUvarint(b, uint64(r.Snapshot))
	b = appendString(b, r.Name)
	b = appendAttrs(b, r.Attrs)
	b = binary.AppendUvarint(b, total)
	b = binary.AppendUvarint(b, offset)
	return appendBytes(b, part)
}
