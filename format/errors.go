package format

import (
	"errors"
	"fmt"
)

// Errors of the container.
var (
	ErrNotTape     = errors.New("not a tape")
	ErrUnsupported = errors.New("not supported by this version")
	ErrNoKey       = errors.New("content is sealed and no identity opens it")
	ErrNoSnapshot  = errors.New("no such snapshot")
	ErrClosed      = errors.New("writer is closed")
)

// DamageKind says what is wrong with a part of a tape.
type DamageKind string

// The kinds of damage (REGISTRY.md).
const (
	DamageMagic     DamageKind = "magic"     // the first bytes are not those of a tape
	DamageHeader    DamageKind = "header"    // bytes that are no chunk, or a chunk whose header does not hold
	DamageBody      DamageKind = "body"      // a chunk whose body does not match its checksum
	DamageContent   DamageKind = "content"   // a chunk that is intact but says what cannot be
	DamageMissing   DamageKind = "missing"   // chunk numbers that are nowhere in the file
	DamageDuplicate DamageKind = "duplicate" // a chunk number that comes twice
	DamageTruncated DamageKind = "truncated" // the file ends within a chunk
	DamageFooter    DamageKind = "footer"    // the footer does not agree with the tape
	DamageTree      DamageKind = "tree"      // a tree head that is not that of the chunks, or a chunk that is not the one in the tree
	DamageSignature DamageKind = "signature" // a signature that does not hold
	DamageSequence  DamageKind = "sequence"  // records twice, or missing without a gap
)

// Damage is one thing that is wrong with a tape. Offsets are bytes in the file.
// FirstSeq and LastSeq bound the records that may be lost with it (0, 0 when no
// record is); Lost is how many are, Unknown when that cannot be told.
type Damage struct {
	Kind     DamageKind `json:"kind"`
	Offset   int64      `json:"offset"`
	Length   int64      `json:"length"`
	Chunk    uint64     `json:"chunk,omitempty"`     // number of the first chunk concerned; 0 unknown
	Chunks   uint64     `json:"chunks,omitempty"`    // how many chunks are lost
	Type     string     `json:"type,omitempty"`      // type of the chunk, where known
	FirstSeq uint64     `json:"first_seq,omitempty"` //
	LastSeq  uint64     `json:"last_seq,omitempty"`  //
	Lost     uint64     `json:"lost,omitempty"`      //
	Streams  []StreamID `json:"streams,omitempty"`   // whose records are lost; empty when unknown
	Detail   string     `json:"detail"`
}

// Error makes Damage the error that Records yields in the place of what is lost.
func (d *Damage) Error() string {
	s := fmt.Sprintf("tape damaged at byte %d (%s): %s", d.Offset, d.Kind, d.Detail)
	if d.LastSeq != 0 {
		s += fmt.Sprintf("; records %d to %d", d.FirstSeq, d.LastSeq)
	}
	return s
}
