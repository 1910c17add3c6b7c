package main

import (
	"encoding/json"
	"io"
	"net"
	"sync"
	"time"
)

// conversation is what the peer knows of one exchange with a guest.
type conversation struct {
	Time     time.Time `json:"time"`     // when it began, dom0's wall clock
	Service  string    `json:"service"`  // http, dns, tls, shell, sink
	Proto    string    `json:"proto"`    // tcp, udp
	Guest    string    `json:"guest"`    // the guest's address and port
	Peer     string    `json:"peer"`     // our address and port
	Received int64     `json:"received"` // payload bytes from the guest
	Sent     int64     `json:"sent"`     // payload bytes to the guest
	Detail   string    `json:"detail,omitempty"`
}

// journal writes conversations, one JSON object a line.
type journal struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func newJournal(w io.Writer) *journal { return &journal{enc: json.NewEncoder(w)} }

func (j *journal) add(c conversation) {
	j.mu.Lock()
	defer j.mu.Unlock()
	// The journal is a file of dom0; the comparison fails on what is missing.
	_ = j.enc.Encode(c)
}

// counted is a connection that knows how many payload bytes crossed it.
type counted struct {
	net.Conn
	began    time.Time
	received int64
	sent     int64
}

func count(c net.Conn) *counted { return &counted{Conn: c, began: time.Now()} }

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.received += int64(n)
	return n, err
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.sent += int64(n)
	return n, err
}

// conversation sums the connection up, once it is over.
func (c *counted) conversation(service, detail string) conversation {
	return conversation{
		Time: c.began, Service: service, Proto: "tcp",
		Guest: c.RemoteAddr().String(), Peer: c.LocalAddr().String(),
		Received: c.received, Sent: c.sent, Detail: detail,
	}
}
