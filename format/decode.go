package format

import (
	"errors"
	"fmt"
)

// unknownRecord stands for a record of a type this version does not know. It
// counts in the sequence and is skipped.
type unknownRecord struct {
	Stamp
	Type RecordType
}

// attachmentPart is one stored part of an attachment.
type attachmentPart struct {
	Attachment
	total, offset uint64
}

// whole reports whether the part is the whole attachment.
func (p *attachmentPart) whole() bool { return p.offset == 0 && uint64(len(p.Data)) == p.total }

// ParseRecord decodes what AppendRecord encoded. Bytes after the last field it
// knows are fields of a later minor version and are ignored. The record's
// slices alias b. An attachment stored in parts cannot be parsed alone.
func ParseRecord(b []byte) (Record, error) {
	r, err := parseStored(b)
	if err != nil {
		return nil, err
	}
	switch r := r.(type) {
	case *attachmentPart:
		if !r.whole() {
			return nil, errors.New("attachment: only a part of it")
		}
		return &r.Attachment, nil
	case *unknownRecord:
		return nil, fmt.Errorf("record type %d: unknown", r.Type)
	}
	return r, nil
}

// parseStored decodes a record as it lies in a chunk: also parts of attachments
// and records of unknown type.
func parseStored(b []byte) (Record, error) {
	r, _, err := parseStoredRest(b)
	return r, err
}

func parseStoredRest(b []byte) (Record, []byte, error) {
	d := &decoder{b: b}
	t := RecordType(d.uint8("type"))
	s := Stamp{
		Seq: d.uint("sequence"), Time: d.zigzag("time"),
		Uncertainty: d.uint32("uncertainty"), Stream: StreamID(d.uint32("stream")),
	}
	var r Record
	switch t {
	case TypeStreamDef:
		r = d.streamDef(s)
	case TypeAnchor:
		r = d.anchor(s)
	case TypeGap:
		r = d.gap(s)
	case TypePacket:
		r = d.packet(s)
	case TypeDiskRequest:
		r = d.diskRequest(s)
	case TypeDiskCompletion:
		c := &DiskCompletion{Stamp: s, ID: d.uint("id")}
		st := d.zigzag("status")
		if c.Status = int32(st); int64(c.Status) != st {
			d.fail("status", errors.New("more than 32 bits"))
		}
		r = c
	case TypeSnapshotBegin:
		r = &SnapshotBegin{Stamp: s, ID: d.uint32("id"), Parent: d.uint32("parent"), Pages: d.uint("pages")}
	case TypeSnapshotEnd:
		r = &SnapshotEnd{Stamp: s, ID: d.uint32("id"), Conditions: d.conditions()}
	case TypeAttachment:
		r = d.attachment(s)
	case TypeEvent:
		r = &Event{Stamp: s, Kind: d.string("kind"), Attrs: d.attrs()}
	case TypeMark:
		r = &Mark{Stamp: s, Text: d.string("text")}
	default:
		r = &unknownRecord{Stamp: s, Type: t}
		if d.err == nil {
			d.b = nil
		}
	}
	if d.err != nil {
		return nil, nil, fmt.Errorf("record type %d: %w", t, d.err)
	}
	return r, d.b, nil
}

func (d *decoder) attrs() []Attr {
	n := d.count("attributes", 2, MaxAttrs)
	if n == 0 {
		return nil
	}
	as := make([]Attr, n)
	for i := range as {
		as[i] = Attr{Name: d.string("attribute name"), Value: d.string("attribute value")}
	}
	return as
}

func (d *decoder) extents() []Extent {
	n := d.count("extents", 2, MaxExtents)
	if n == 0 {
		return nil
	}
	es := make([]Extent, n)
	for i := range es {
		es[i] = Extent{Start: d.uint("extent start"), Count: d.uint("extent count")}
	}
	return es
}

func (d *decoder) streamDef(s Stamp) *StreamDef {
	r := &StreamDef{Stamp: s, ID: StreamID(d.uint32("id")), Kind: StreamKind(d.uint8("kind")), Name: d.string("name")}
	d.fixed("domain", r.Domain[:])
	r.DomID = d.uint16("domid")
	r.Epoch = d.uint32("epoch")
	r.Size = d.uint("size")
	r.Attrs = d.attrs()
	return r
}

func (d *decoder) anchor(s Stamp) *Anchor {
	r := &Anchor{Stamp: s}
	d.fixed("boot id", r.BootID[:])
	r.Boottime = d.zigzag("boottime")
	r.Realtime = d.zigzag("realtime")
	r.TAI = d.zigzag("tai")
	r.Bracket = d.uint32("bracket")
	r.Stepped = d.bool("stepped")
	r.TSC = d.uint("tsc")
	r.XenSystem = d.zigzag("xen system time")
	return r
}

func (d *decoder) gap(s Stamp) *Gap {
	return &Gap{
		Stamp: s, From: d.zigzag("from"), To: d.zigzag("to"),
		Reason: GapReason(d.uint8("reason")), Count: d.uint("count"),
		Extents: d.extents(), Detail: d.string("detail"),
	}
}

func (d *decoder) packet(s Stamp) *Packet {
	r := &Packet{
		Stamp: s, LinkType: d.uint16("link type"),
		Direction: Direction(d.uint8("direction")), OrigLen: d.uint32("original length"),
	}
	if d.bool("vnet present") {
		r.VNet = &VirtioNet{
			Flags: d.uint8("vnet flags"), GSOType: d.uint8("gso type"), HdrLen: d.uint16("header length"),
			GSOSize: d.uint16("gso size"), CsumStart: d.uint16("checksum start"), CsumOffset: d.uint16("checksum offset"),
		}
	}
	r.Comment = d.string("comment")
	r.Data = d.bytes("data")
	return r
}

func (d *decoder) diskRequest(s Stamp) *DiskRequest {
	return &DiskRequest{
		Stamp: s, ID: d.uint("id"), Op: DiskOp(d.uint8("op")), Flags: DiskFlags(d.uint16("flags")),
		Offset: d.uint("offset"), Length: d.uint("length"), Data: d.bytes("data"),
	}
}

func (d *decoder) conditions() Conditions {
	f := d.uint8("flags")
	if f > 0x0f {
		d.fail("flags", fmt.Errorf("%#x: unknown bits", f))
	}
	return Conditions{
		Paused: f&1 != 0, Fuzzy: f&2 != 0, Quiesced: f&4 != 0, Complete: f&8 != 0,
		CopyStart: d.zigzag("copy start"), PauseCall: d.zigzag("pause call"), PauseDone: d.zigzag("pause done"),
		Quiet: d.zigzag("quiet"), CopyEnd: d.zigzag("copy end"), Unpause: d.zigzag("unpause"),
		InFlight: d.uint32("in flight"), Examined: d.uint("examined"), Changed: d.uint("changed"),
		Missed: d.uint("missed"), Method: d.string("method"),
	}
}

func (d *decoder) attachment(s Stamp) *attachmentPart {
	r := &attachmentPart{Attachment: Attachment{
		Stamp: s, Snapshot: d.uint32("snapshot"), Name: d.string("name"), Attrs: d.attrs(),
	}}
	r.total = d.uintMax("size", MaxAttachment)
	r.offset = d.uintMax("offset", r.total)
	r.Data = d.bytes("data")
	if d.err == nil && uint64(len(r.Data)) > r.total-r.offset {
		d.fail("data", fmt.Errorf("%d bytes at %d of %d", len(r.Data), r.offset, r.total))
	}
	return r
}
