//go:build linux

package broker

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/xentape/xentape/capture/internal/xenstore"
)

// looking are the requests to xenstored that change nothing: a recorder has no others
// (xen/include/public/io/xs_wire.h). Requests in a transaction are not needed.
var looking = map[uint32]bool{
	xenstore.OpDirectory: true, xenstore.OpRead: true, xenstore.OpWatch: true,
	xenstore.OpUnwatch: true, xenstore.OpDirectoryPart: true,
}

// refusal is how xenstored itself says no.
const refusal = "EACCES\x00"

// relay passes what a recorder asks on to xenstored, if it only looks, and everything
// that comes back to the recorder. It ends with either connection.
func relay(recorder io.ReadWriter, daemon io.ReadWriter) error {
	back := make(chan error, 1)
	out := &lockedWriter{w: recorder}
	go func() { back <- passMessages(daemon, func(m []byte) error { return out.write(m) }) }()
	ahead := make(chan error, 1)
	go func() {
		ahead <- passMessages(recorder, func(m []byte) error {
			op, tx := binary.LittleEndian.Uint32(m), binary.LittleEndian.Uint32(m[8:])
			if looking[op] && tx == 0 {
				_, err := daemon.Write(m)
				return err
			}
			no := make([]byte, 0, xenstore.HeaderSize+len(refusal))
			no = binary.LittleEndian.AppendUint32(no, xenstore.OpError)
			no = append(no, m[4:8]...) // the request's number
			no = binary.LittleEndian.AppendUint32(no, 0)
			no = binary.LittleEndian.AppendUint32(no, uint32(len(refusal)))
			return out.write(append(no, refusal...))
		})
	}()
	select {
	case err := <-back:
		return err
	case err := <-ahead:
		return err
	}
}

// passMessages hands whole messages on, header and payload.
func passMessages(from io.Reader, to func([]byte) error) error {
	in := bufio.NewReader(from)
	for {
		m := make([]byte, xenstore.HeaderSize, xenstore.HeaderSize+xenstore.MaxPayload)
		if _, err := io.ReadFull(in, m); err != nil {
			return err
		}
		n := binary.LittleEndian.Uint32(m[12:])
		if n > xenstore.MaxPayload {
			return fmt.Errorf("xenstore message of %d bytes exceeds %d", n, xenstore.MaxPayload)
		}
		m = m[:xenstore.HeaderSize+n]
		if _, err := io.ReadFull(in, m[xenstore.HeaderSize:]); err != nil {
			return err
		}
		if err := to(m); err != nil {
			return err
		}
	}
}

// lockedWriter lets two goroutines write whole messages.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) write(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.w.Write(b)
	return err
}
