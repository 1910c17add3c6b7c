package fakexen

import (
	"encoding/binary"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Store is an imaginary xenstored.
type Store struct {
	mu      sync.Mutex
	nodes   map[string]string
	watches []*watch
	gen     int
	// LargeList is the size of a listing, in bytes, beyond which it is E2BIG.
	LargeList int
}

type watch struct {
	path, token string
	conn        *storeConn
}

// storeConn is one client. It is sent replies and events in the order in which they came
// about, as xenstored does, and nobody waits until it reads them.
type storeConn struct {
	conn net.Conn

	mu    sync.Mutex
	out   []byte
	ready chan struct{} // something is in out
	begun []string      // watches whose first event is due after the reply
}

// NewStore makes a tree of the given nodes.
func NewStore(nodes map[string]string) *Store {
	s := &Store{nodes: map[string]string{}, LargeList: 4096}
	for path, value := range nodes {
		s.set(path, value)
	}
	return s
}

// set makes a node and its parents. Called with mu held, or before use.
func (s *Store) set(path, value string) {
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			if _, ok := s.nodes[path[:i]]; !ok {
				s.nodes[path[:i]] = ""
			}
		}
	}
	s.nodes[path] = value
	s.gen++
}

// Set writes a node as another client would.
func (s *Store) Set(path, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(path, value)
	s.fire(path)
}

// Delete removes a node and what is below it.
func (s *Store) Delete(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(path)
	s.fire(path)
}

// Fire sends the events of a special watch, such as @releaseDomain.
func (s *Store) Fire(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fire(path)
}

func (s *Store) remove(path string) {
	maps.DeleteFunc(s.nodes, func(p, _ string) bool { return p == path || strings.HasPrefix(p, path+"/") })
	s.gen++
}

func (s *Store) fire(path string) {
	for _, w := range s.watches {
		if w.path == path || strings.HasPrefix(path, w.path+"/") {
			w.conn.send(opWatchEvent, 0, path+"\x00"+w.token+"\x00")
		}
	}
}

// Dial connects a client.
func (s *Store) Dial() io.ReadWriteCloser {
	ours, theirs := net.Pipe()
	c := &storeConn{conn: ours, ready: make(chan struct{}, 1)}
	go c.write()
	go s.serve(c)
	return theirs
}

// Message types (xs_wire.h).
const (
	opDirectory, opRead, opWatch, opUnwatch  = 1, 2, 4, 5
	opWrite, opRemove, opWatchEvent, opError = 11, 13, 15, 16
	opDirectoryPart                          = 20
	partSize                                 = 1000 // bytes of names in one part of a listing
)

func (c *storeConn) send(op, request uint32, payload string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = binary.LittleEndian.AppendUint32(c.out, op)
	c.out = binary.LittleEndian.AppendUint32(c.out, request)
	c.out = binary.LittleEndian.AppendUint32(c.out, 0)
	c.out = binary.LittleEndian.AppendUint32(c.out, uint32(len(payload)))
	c.out = append(c.out, payload...)
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// write writes until the connection ends.
func (c *storeConn) write() {
	for range c.ready {
		c.mu.Lock()
		out := c.out
		c.out = nil
		c.mu.Unlock()
		if _, err := c.conn.Write(out); err != nil {
			return
		}
	}
}

func (s *Store) serve(c *storeConn) {
	defer s.hangUp(c)
	for {
		var head [16]byte
		if _, err := io.ReadFull(c.conn, head[:]); err != nil {
			return
		}
		payload := make([]byte, binary.LittleEndian.Uint32(head[12:])&0xffff)
		if _, err := io.ReadFull(c.conn, payload); err != nil {
			return
		}
		op, request := binary.LittleEndian.Uint32(head[0:]), binary.LittleEndian.Uint32(head[4:])
		if reply, failed := s.do(c, op, string(payload)); failed != "" {
			c.send(opError, request, failed+"\x00")
		} else {
			c.send(op, request, reply)
		}
		for _, event := range c.begun {
			c.send(opWatchEvent, 0, event)
		}
		c.begun = nil
	}
}

// hangUp ends a connection, and with it its watches.
func (s *Store) hangUp(c *storeConn) {
	s.mu.Lock()
	s.watches = slices.DeleteFunc(s.watches, func(w *watch) bool { return w.conn == c })
	s.mu.Unlock()
	close(c.ready) // nobody sends any more
	c.conn.Close()
}

func (s *Store) do(c *storeConn, op uint32, payload string) (reply, failed string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path, rest, _ := strings.Cut(payload, "\x00")
	value, exists := s.nodes[path]
	switch op {
	case opRead, opDirectory, opDirectoryPart, opRemove:
		if !exists {
			return "", "ENOENT"
		}
	}
	switch op {
	case opRead:
		return value, ""
	case opWrite:
		s.set(path, rest)
		s.fire(path)
		return "OK\x00", ""
	case opRemove:
		s.remove(path)
		s.fire(path)
		return "OK\x00", ""
	case opDirectory:
		if names := s.list(path); len(names) <= s.LargeList {
			return names, ""
		}
		return "", "E2BIG"
	case opDirectoryPart:
		return s.part(path, rest), ""
	case opWatch:
		token, _, _ := strings.Cut(rest, "\x00")
		w := &watch{path, token, c}
		s.watches = append(s.watches, w)
		c.begun = append(c.begun, path+"\x00"+token+"\x00") // once, at the beginning
		return "OK\x00", ""
	case opUnwatch:
		token, _, _ := strings.Cut(rest, "\x00")
		s.watches = slices.DeleteFunc(s.watches, func(w *watch) bool { return w.conn == c && w.token == token })
		return "OK\x00", ""
	}
	return "", "ENOSYS"
}

func (s *Store) list(path string) string {
	var names []string
	for p := range s.nodes {
		if rest, ok := strings.CutPrefix(p, path+"/"); ok && !strings.Contains(rest, "/") {
			names = append(names, rest)
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		return ""
	}
	return strings.Join(names, "\x00") + "\x00"
}

func (s *Store) part(path, rest string) string {
	text, _, _ := strings.Cut(rest, "\x00")
	off, _ := strconv.Atoi(text)
	names := s.list(path)
	off = min(off, len(names))
	end := min(off+partSize, len(names))
	out := strconv.Itoa(s.gen) + "\x00" + names[off:end]
	if end == len(names) {
		out += "\x00"
	}
	return out
}
