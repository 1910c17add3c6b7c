// Package xenstore is a client of xenstored: the tree in which the toolstack and
// the backends keep what they know of each guest. Of the tree only the control
// domain's side is believed; what guests may write is passed on as it is.
package xenstore

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Message types (xen/include/public/io/xs_wire.h, enum xsd_sockmsg_type).
const (
	OpDirectory     = 1
	OpRead          = 2
	OpGetPerms      = 3
	OpWatch         = 4
	OpUnwatch       = 5
	OpWrite         = 11
	OpRemove        = 13
	OpWatchEvent    = 15
	OpError         = 16
	OpDirectoryPart = 20 // since Xen 4.9
)

// HeaderSize is sizeof(struct xsd_sockmsg): type, req_id, tx_id, len.
const HeaderSize = 16

// MaxPayload is XENSTORE_PAYLOAD_MAX.
const MaxPayload = 4096

type message struct {
	op      uint32
	request uint32
	payload []byte
}

func (m *message) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, m.op)
	b = binary.LittleEndian.AppendUint32(b, m.request)
	b = binary.LittleEndian.AppendUint32(b, 0) // no transaction
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.payload)))
	return append(b, m.payload...)
}

// readMessage reads one message; its length is checked before room is made.
func readMessage(r io.Reader) (*message, error) {
	var head [HeaderSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	m := &message{op: binary.LittleEndian.Uint32(head[0:]), request: binary.LittleEndian.Uint32(head[4:])}
	n := binary.LittleEndian.Uint32(head[12:])
	if n > MaxPayload {
		return nil, fmt.Errorf("xenstore message of type %d: length %d exceeds %d", m.op, n, MaxPayload)
	}
	m.payload = make([]byte, n)
	if _, err := io.ReadFull(r, m.payload); err != nil {
		return nil, fmt.Errorf("xenstore message of type %d: %w", m.op, err)
	}
	return m, nil
}
