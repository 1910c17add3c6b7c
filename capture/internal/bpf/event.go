package bpf

import (
	"encoding/binary"
	"fmt"
)

// Kind of an event.
type Kind uint16

// The kinds of event, as blocks.bpf.c numbers them.
const (
	Request    Kind = 1 // a request was queued; a write's payload follows
	Payload    Kind = 2 // a piece of a write
	Completion Kind = 3 // a request ended
)

// Flags of a request.
const (
	FUA      = 1
	Preflush = 2
	Sync     = 4
	Meta     = 8
)

// Other is the operation of a request that is none of format.DiskOp.
const Other = 255

// Event is one record of the ring.
type Event struct {
	Time   int64  // ns CLOCK_MONOTONIC; 0 for a payload
	ID     uint64 // of the request
	Sector uint64 // in units of 512 bytes from the start of the device; of a payload, bytes into the request
	Bytes  uint32 // of the request; of a payload, of its piece
	Kind   Kind
	Op     uint8 // format.DiskOp, or Other
	Flags  uint8
	Status uint8 // of a completion: blk_status_t
	CPU    uint32
	PID    uint32
	Data   []byte // of a payload; valid until the next event is read
}

const (
	eventSize  = 40 // struct event
	maxPayload = 4096
)

// parse decodes struct event of blocks.bpf.c, and the piece after it.
func (e *Event) parse(b []byte) error {
	if len(b) < eventSize {
		return fmt.Errorf("block event of %d bytes", len(b))
	}
	le := binary.LittleEndian
	*e = Event{
		Time: int64(le.Uint64(b)), ID: le.Uint64(b[8:]), Sector: le.Uint64(b[16:]), Bytes: le.Uint32(b[24:]),
		Kind: Kind(le.Uint16(b[28:])), Op: b[30], CPU: le.Uint32(b[32:]), PID: le.Uint32(b[36:]),
	}
	switch e.Kind {
	case Request:
		e.Flags = b[31]
	case Completion:
		e.Status = b[31]
	case Payload:
		if e.Bytes == 0 || e.Bytes > maxPayload || int(e.Bytes) > len(b)-eventSize {
			return fmt.Errorf("block event: piece of %d bytes in %d", e.Bytes, len(b))
		}
		e.Data = b[eventSize : eventSize+e.Bytes]
	default:
		return fmt.Errorf("block event of kind %d", e.Kind)
	}
	return nil
}
