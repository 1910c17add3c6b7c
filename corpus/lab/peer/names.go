package main

import (
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/xentape/xentape/corpus/lab/truth"
)

// names is a name server for one made-up zone: every A question is answered
// with the peer's own address, names under "missing." with NXDOMAIN, other
// types with no data.
type names struct{ j *journal }

func (n names) serve(c net.PacketConn) error {
	buf := make([]byte, 4096)
	for {
		size, from, err := c.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		local := c.LocalAddr().(*net.UDPAddr)
		answer, question, ok := answer(buf[:size], local.IP.To4())
		if !ok {
			continue
		}
		sent, err := c.WriteTo(answer, from)
		if err != nil {
			return err
		}
		n.j.add(truth.Conversation{
			Time: time.Now(), Service: "dns", Proto: "udp",
			Guest: from.String(), Peer: local.String(),
			Received: int64(size), Sent: int64(sent), Detail: question,
		})
	}
}

const (
	typeA     = 1
	headerLen = 12 // RFC 1035 section 4.1.1
)

// answer makes the response to a query with one question (RFC 1035 section 4).
func answer(query []byte, address net.IP) (response []byte, name string, ok bool) {
	if len(query) < headerLen || query[2]&0x80 != 0 || binary.BigEndian.Uint16(query[4:]) != 1 {
		return nil, "", false
	}
	var labels []string
	at := headerLen
	for {
		if at >= len(query) {
			return nil, "", false
		}
		length := int(query[at])
		at++
		if length == 0 {
			break
		}
		if length > 63 || at+length > len(query) {
			return nil, "", false
		}
		labels = append(labels, string(query[at:at+length]))
		at += length
	}
	if at+4 > len(query) {
		return nil, "", false
	}
	name = strings.Join(labels, ".")
	qtype := binary.BigEndian.Uint16(query[at:])
	missing := strings.HasPrefix(name, "missing.")

	response = append(response, query[:at+4]...)
	response[2], response[3] = 0x84|query[2]&0x01, 0x80 // response, authoritative, recursion as asked and available
	binary.BigEndian.PutUint16(response[6:], 0)
	binary.BigEndian.PutUint16(response[8:], 0)
	binary.BigEndian.PutUint16(response[10:], 0)
	switch {
	case missing:
		response[3] |= 3 // NXDOMAIN
	case qtype == typeA:
		binary.BigEndian.PutUint16(response[6:], 1)
		response = append(response, 0xc0, headerLen, 0, typeA, 0, 1, 0, 0, 0, 60, 0, 4)
		response = append(response, address...)
	}
	return response, name, true
}
