package main

import (
	"encoding/json"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xentape/xentape/corpus/lab/truth"
)

// journal writes conversations, one JSON object a line.
type journal struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func newJournal(w io.Writer) *journal { return &journal{enc: json.NewEncoder(w)} }

func (j *journal) add(c truth.Conversation) {
	j.mu.Lock()
	defer j.mu.Unlock()
	// The journal is a file of dom0; the comparison fails on what is missing.
	_ = j.enc.Encode(c)
}

// counted is a connection that knows how many payload bytes crossed it.
type counted struct {
	net.Conn
	began    time.Time
	received atomic.Int64
	sent     atomic.Int64
}

func count(c net.Conn) *counted { return &counted{Conn: c, began: time.Now()} }

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.received.Add(int64(n))
	return n, err
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.sent.Add(int64(n))
	return n, err
}

// conversation sums up what crossed the connection so far. The guest is at
// the far end whoever called.
func (c *counted) conversation(service, detail string) truth.Conversation {
	return truth.Conversation{
		Time: c.began, Service: service, Proto: "tcp",
		Guest: c.RemoteAddr().String(), Peer: c.LocalAddr().String(),
		Received: c.received.Load(), Sent: c.sent.Load(), Detail: detail,
	}
}
