package format

// StreamID names a stream within one tape. Streams are numbered from 1 in the
// order of their definition; 0 is the tape itself.
type StreamID uint32

// StreamKind is what a stream observes.
type StreamKind uint8

// The kinds of stream. Values are part of the format (REGISTRY.md).
const (
	StreamTape    StreamKind = 0 // the recording itself: anchors, tape-wide events
	StreamMemory  StreamKind = 1 // a guest's memory: images in units of 4096-byte frames
	StreamDisk    StreamKind = 2 // one virtual disk: base image in 4096-byte blocks, then requests
	StreamNetwork StreamKind = 3 // one virtual interface
	StreamGuest   StreamKind = 4 // the life of a guest: domain events, xenstore
)

// StreamDef introduces a stream. It precedes every record of that stream.
type StreamDef struct {
	Stamp
	ID     StreamID
	Kind   StreamKind
	Name   string   // "memory", "xvda", "vif0", "guest": the name users type
	Domain [16]byte // the guest's UUID; zero where the source had none
	DomID  uint16   // Xen domain id while recorded; 0xffff where the source had none
	Epoch  uint32   // boot epoch of the guest within this recording, from 0
	Size   uint64   // bytes of guest-visible disk, or of guest-physical space; 0 unknown
	Attrs  []Attr   // how it was observed: guest type, MAC, bridge, backend device, link type …
}

// Attr is one named fact. Names are lower-case with hyphens and are listed in
// REGISTRY.md; order is the writer's and is kept.
type Attr struct{ Name, Value string }

// Stamp says which stream a record belongs to, when it was observed and in
// which order it was committed.
type Stamp struct {
	Seq         uint64 // global order in which the recorder committed the record, from 1, without holes; assigned by the Writer
	Time        int64  // nanoseconds of the recording host's CLOCK_MONOTONIC
	Uncertainty uint32 // ± nanoseconds around Time; 0xffffffff = unbounded
	Stream      StreamID
}

// Header returns the stamp itself; it makes every record type a Record.
func (s *Stamp) Header() *Stamp { return s }

// A Record is one of *StreamDef, *Anchor, *Gap, *Packet, *DiskRequest,
// *DiskCompletion, *SnapshotBegin, *SnapshotEnd, *Attachment, *Event or *Mark.
type Record interface{ Header() *Stamp }

// Anchor ties the tape's clock to others, all read within Bracket nanoseconds.
type Anchor struct {
	Stamp
	BootID    [16]byte // of the recording host: monotonic times compare only within one
	Boottime  int64    // CLOCK_BOOTTIME, ns
	Realtime  int64    // CLOCK_REALTIME, ns since 1970 UTC
	TAI       int64    // CLOCK_TAI, ns
	Bracket   uint32   // ns between the first and the last clock read
	Stepped   bool     // the wall clock was set since the previous anchor
	TSC       uint64   // time stamp counter, 0 where not read
	XenSystem int64    // Xen system time, ns, 0 where not read
}

// GapReason is why something that existed is not on the tape.
type GapReason uint8

// The reasons a gap can have (REGISTRY.md).
const (
	GapUnknown    GapReason = 0
	GapOverflow   GapReason = 1 // a kernel or recorder buffer was full
	GapBudget     GapReason = 2 // the recorder's own limit on memory, CPU or disk was reached
	GapDiskFull   GapReason = 3 // the tape's file system had no room
	GapUnreadable GapReason = 4 // the source refused or failed the read
	GapDamage     GapReason = 5 // the tape itself is damaged here (written by salvage)
	GapDetached   GapReason = 6 // the source was not attached (device or guest away, recorder restarted)
	GapRedacted   GapReason = 7 // left out on purpose (minimized or disclosed tapes)
	GapNoPayload  GapReason = 8 // the request was seen, its content was not (metadata-only capture)
)

// Unknown is the value of a count that is not known.
const Unknown = ^uint64(0)

// Gap says that between From and To records of the stream are missing.
type Gap struct {
	Stamp
	From, To int64 // ns CLOCK_MONOTONIC; equal when the moment is exact
	Reason   GapReason
	Count    uint64   // records or packets lost; Unknown if not counted
	Extents  []Extent // bytes of the disk, or frames of memory, whose content is uncertain because of it; nil for all when Count is Unknown
	Detail   string   // one line for a person
}

// Extent is a half-open run [Start, Start+Count) in the unit of its context:
// frames for memory, bytes for disks.
type Extent struct{ Start, Count uint64 }

// Direction of a packet, as seen from the guest.
type Direction uint8

// The directions of a packet.
const (
	DirectionUnknown Direction = 0
	FromGuest        Direction = 1
	ToGuest          Direction = 2
)

// VirtioNet is struct virtio_net_hdr (linux/virtio_net.h) as AF_PACKET with
// PACKET_VNET_HDR gives it: how checksum and segmentation were still to be done.
type VirtioNet struct {
	Flags      uint8 // 1 NEEDS_CSUM, 2 DATA_VALID
	GSOType    uint8 // 0 none, 1 TCPv4, 3 UDP, 4 TCPv6, 5 UDP_L4, |0x80 ECN
	HdrLen     uint16
	GSOSize    uint16
	CsumStart  uint16
	CsumOffset uint16
}

// Packet is one frame on a virtual interface, or one packet of a capture file.
type Packet struct {
	Stamp
	LinkType  uint16 // LINKTYPE_ value of the pcap registry; 1 = Ethernet
	Direction Direction
	OrigLen   uint32     // bytes on the wire; > len(Data) when the source truncated it
	VNet      *VirtioNet // nil where the source had none
	Comment   string     // opt_comment of a pcapng packet
	Data      []byte
}

// DiskOp is what a disk request asks for.
type DiskOp uint8

// The operations of a disk request. Values 0–3 are those of the kernel's
// REQ_OP_* where one exists; the recorder translates.
const (
	DiskRead        DiskOp = 0
	DiskWrite       DiskOp = 1
	DiskFlush       DiskOp = 2
	DiskDiscard     DiskOp = 3
	DiskWriteZeroes DiskOp = 4
	DiskSecureErase DiskOp = 5
)

// DiskFlags qualify a disk request.
type DiskFlags uint16

// The flags of a disk request.
const (
	DiskFUA      DiskFlags = 1 << 0 // forced unit access: durable when complete
	DiskPreflush DiskFlags = 1 << 1 // a flush is done before the request
	DiskSync     DiskFlags = 1 << 2
	DiskMeta     DiskFlags = 1 << 3 // the submitter marked it as metadata
	DiskReadback DiskFlags = 1 << 4 // not a guest request: content read from the device by the recorder to close a gap
	DiskNoData   DiskFlags = 1 << 5 // a write whose payload was not captured
	DiskApplied  DiskFlags = 1 << 6 // the source logs requests when they complete: apply at once, no completion follows
)

// DiskRequest is one request as the backend submitted it. A write's Data is
// its whole payload unless DiskNoData is set; a request larger than
// MaxDiskData is split by the recorder into several with the same ID.
type DiskRequest struct {
	Stamp
	ID     uint64 // pairs with DiskCompletion; unique among requests in flight
	Op     DiskOp
	Flags  DiskFlags
	Offset uint64 // bytes from the start of the disk
	Length uint64 // bytes; len(Data) for a write with payload
	Data   []byte
}

// Captured reports whether Data is the whole payload of a write.
func (r *DiskRequest) Captured() bool {
	return r.Flags&DiskNoData == 0 && uint64(len(r.Data)) == r.Length
}

// MaxDiskData bounds DiskRequest.Data, in bytes.
const MaxDiskData = 4 << 20

// DiskCompletion says that a request ended. Status 0 is success, else a
// positive errno: a failed write did not (wholly) happen.
type DiskCompletion struct {
	Stamp
	ID     uint64
	Status int32
}

// SnapshotBegin opens an image of a stream: guest memory at one moment, or a
// disk's base. Its pages and attachments follow up to SnapshotEnd with the same
// ID; records of other streams may come between.
type SnapshotBegin struct {
	Stamp
	ID     uint32 // from 1, unique within the tape over all streams
	Parent uint32 // pages not stated are as in this snapshot of the same stream; 0 = none, unstated pages are PageAbsent
	Pages  uint64 // one past the highest page number that can exist
}

// SnapshotEnd closes an image and says under which conditions it was taken. An
// image without an end is incomplete: what it states holds, the rest is unknown.
type SnapshotEnd struct {
	Stamp
	ID uint32
	Conditions
}

// Conditions are the circumstances of an image, for grading what is read from it.
// Times are ns CLOCK_MONOTONIC; 0 = did not happen.
type Conditions struct {
	Paused    bool // the guest was stopped while the last of it was copied: it is one instant
	Fuzzy     bool // pages are of different moments between CopyStart and CopyEnd
	Quiesced  bool // no backend request was in flight at the end of the pause
	Complete  bool // every page was read or its absence explained
	CopyStart int64
	PauseCall int64
	PauseDone int64 // the pause call returned
	Quiet     int64 // backends were quiet
	CopyEnd   int64
	Unpause   int64
	InFlight  uint32 // requests begun and not ended at CopyEnd
	Examined  uint64 // pages looked at
	Changed   uint64 // pages that differ from the parent
	Missed    uint64 // by audit: pages changed that the tracker had not reported; Unknown when no audit ran
	Method    string // "full", "hash", "log-dirty+grants", "import": how changes were found
}

// PageState is what is known of one page of an image. These are different
// facts and never stand for each other.
type PageState uint8

// The states of a page (REGISTRY.md).
const (
	PageAbsent     PageState = 0 // no such page: never mapped, or beyond the disk
	PageData       PageState = 1 // content is on the tape
	PageZero       PageState = 2 // content is 4096 zero bytes
	PageBallooned  PageState = 3 // given back to the hypervisor
	PageUnreadable PageState = 4 // exists, the recorder could not read it
	PageMissing    PageState = 5 // was on the tape, lost to damage or never read before the recording ended
	PageDevice     PageState = 6 // device or hypervisor memory, not read on purpose
)

// PageSize is the unit of images: bytes in a memory frame and in a disk block.
const PageSize = 4096

// Attachment is a blob that belongs to a stream, and to a snapshot when
// Snapshot is not 0: raw, as the source gave it. Names are listed in
// REGISTRY.md ("xen/vcpu/0", "xen/hvm-context", "xen/shared-info", "xen/p2m",
// "xen/grant-table", "elf/note/…", "kernel/btf", "xenstore", …).
type Attachment struct {
	Stamp
	Snapshot uint32
	Name     string
	Attrs    []Attr
	Data     []byte
}

// Event is something that happened to a guest, a device or the recording
// ("domain-created", "domain-rebooted", "disk-attached", "vif-detached",
// "recording-started", "trigger", …; REGISTRY.md).
type Event struct {
	Stamp
	Kind  string
	Attrs []Attr
}

// Mark is a point someone named: a dm-log-writes mark, an operator's note.
type Mark struct {
	Stamp
	Text string
}

// Attribute returns the value of a stream's attribute, or "".
func Attribute(attrs []Attr, name string) string {
	for _, a := range attrs {
		if a.Name == name {
			return a.Value
		}
	}
	return ""
}
