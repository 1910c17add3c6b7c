package xenstore

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Sockets and the device through which xenstored is reached, in the order tried.
var endpoints = []string{"/run/xenstored/socket", "/var/run/xenstored/socket"}

const device = "/dev/xen/xenbus"

// ErrNotExist says that a node does not exist.
var ErrNotExist = errors.New("no such xenstore node")

// errClosed is what calls get when the connection has ended.
var errClosed = errors.New("the connection to xenstored has ended")

// Client is one connection. Its methods are safe for concurrent use.
type Client struct {
	conn io.ReadWriteCloser

	send sync.Mutex // one message at a time goes out

	mu      sync.Mutex // guards what follows
	next    uint32
	waiting map[uint32]chan *message
	watches map[string]chan<- string // by token
	keeps   int                      // how many dumps were kept
	failed  error
}

// Open connects to this host's xenstored.
func Open() (*Client, error) {
	conn, err := Dial()
	if err != nil {
		return nil, err
	}
	return New(conn), nil
}

// Dial opens a connection to this host's xenstored.
func Dial() (io.ReadWriteCloser, error) {
	var errs []error
	for _, name := range endpoints {
		c, err := net.Dial("unix", name)
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err == nil {
		return f, nil
	}
	return nil, fmt.Errorf("xenstored is not to be reached: %w", errors.Join(append(errs, err)...))
}

// New speaks to a xenstored over conn.
func New(conn io.ReadWriteCloser) *Client {
	c := &Client{conn: conn, waiting: map[uint32]chan *message{}, watches: map[string]chan<- string{}}
	go c.receive()
	return c
}

// receive hands out replies and watch events until the connection ends. Replies
// nobody waits for are dropped.
func (c *Client) receive() {
	in := bufio.NewReader(c.conn)
	for {
		m, err := readMessage(in)
		if err != nil {
			c.fail(err)
			return
		}
		if m.op == OpWatchEvent {
			c.notify(m.payload)
			continue
		}
		c.mu.Lock()
		reply := c.waiting[m.request]
		delete(c.waiting, m.request)
		c.mu.Unlock()
		if reply != nil {
			reply <- m
		}
	}
}

// notify passes a watch event on. Watchers look at the tree themselves, so an event
// that finds its channel full says nothing new.
func (c *Client) notify(payload []byte) {
	path, rest, _ := bytes.Cut(payload, []byte{0})
	token, _, _ := bytes.Cut(rest, []byte{0})
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch := c.watches[string(token)]; ch != nil {
		select {
		case ch <- string(path):
		default:
		}
	}
}

func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = fmt.Errorf("%w: %w", errClosed, err)
	for id, reply := range c.waiting {
		close(reply)
		delete(c.waiting, id)
	}
	closed := map[chan<- string]bool{} // one channel may be that of several watches
	for token, ch := range c.watches {
		if !closed[ch] {
			close(ch)
		}
		closed[ch] = true
		delete(c.watches, token)
	}
}

// call sends one request and waits for its reply. Parts are joined as they are.
func (c *Client) call(ctx context.Context, op uint32, parts ...string) ([]byte, error) {
	payload := []byte(strings.Join(parts, ""))
	if len(payload) > MaxPayload {
		return nil, fmt.Errorf("xenstore request of %d bytes exceeds %d", len(payload), MaxPayload)
	}
	reply := make(chan *message, 1)
	c.mu.Lock()
	if c.failed != nil {
		c.mu.Unlock()
		return nil, c.failed
	}
	c.next++
	m := message{op: op, request: c.next, payload: payload}
	c.waiting[m.request] = reply
	c.mu.Unlock()

	c.send.Lock()
	_, err := c.conn.Write(m.append(nil))
	c.send.Unlock()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errClosed, err)
	}
	select {
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, m.request)
		c.mu.Unlock()
		return nil, ctx.Err()
	case r, open := <-reply:
		if !open {
			return nil, errClosed
		}
		if r.op == OpError {
			return nil, errorNamed(string(bytes.TrimRight(r.payload, "\x00")))
		}
		if r.op != op {
			return nil, fmt.Errorf("xenstored answered request type %d with type %d", op, r.op)
		}
		return r.payload, nil
	}
}

// errorNamed translates the names that xenstored sends for errors (xs_wire.h,
// xsd_errors).
func errorNamed(name string) error {
	known := map[string]error{
		"ENOENT": ErrNotExist, "EACCES": syscall.EACCES, "EINVAL": syscall.EINVAL, "E2BIG": syscall.E2BIG,
		"EAGAIN": syscall.EAGAIN, "EEXIST": syscall.EEXIST, "ENOSYS": syscall.ENOSYS, "ENOSPC": syscall.ENOSPC,
		"EIO": syscall.EIO, "ENOMEM": syscall.ENOMEM, "EROFS": syscall.EROFS, "EBUSY": syscall.EBUSY,
		"EISCONN": syscall.EISCONN, "EPERM": syscall.EPERM,
	}
	if err := known[name]; err != nil {
		return err
	}
	return fmt.Errorf("xenstored: %q", name)
}

// Read returns the value of a node.
func (c *Client) Read(ctx context.Context, path string) (string, error) {
	b, err := c.call(ctx, OpRead, path, "\x00")
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return string(b), nil
}

// Write sets the value of a node, and makes it where it does not exist.
func (c *Client) Write(ctx context.Context, path, value string) error {
	if _, err := c.call(ctx, OpWrite, path, "\x00", value); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// Remove removes a node and everything below it.
func (c *Client) Remove(ctx context.Context, path string) error {
	if _, err := c.call(ctx, OpRemove, path, "\x00"); err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// List returns the names below a node, sorted.
func (c *Client) List(ctx context.Context, path string) ([]string, error) {
	b, err := c.call(ctx, OpDirectory, path, "\x00")
	if errors.Is(err, syscall.E2BIG) {
		b, err = c.listParts(ctx, path)
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", path, err)
	}
	names := split(b)
	slices.Sort(names)
	return names, nil
}

func split(b []byte) []string {
	text := strings.TrimRight(string(b), "\x00")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\x00")
}

// maxListing bounds a directory that comes in parts, and listTries how often one
// that changes meanwhile is begun again.
const (
	maxListing = 1 << 20
	listTries  = 8
)

// listParts reads a directory too large for one message: each part begins with the
// directory's generation, which must not change, and the last ends with an empty name.
func (c *Client) listParts(ctx context.Context, path string) ([]byte, error) {
	for range listTries {
		var all []byte
		var generation string
		for len(all) < maxListing {
			b, err := c.call(ctx, OpDirectoryPart, path, "\x00", strconv.Itoa(len(all)), "\x00")
			if err != nil {
				return nil, err
			}
			g, names, ok := bytes.Cut(b, []byte{0})
			if !ok || len(names) == 0 {
				return nil, fmt.Errorf("part of a listing at %d is malformed", len(all))
			}
			if generation == "" {
				generation = string(g)
			} else if generation != string(g) {
				break
			}
			if names[len(names)-1] == 0 && (len(names) == 1 || names[len(names)-2] == 0) {
				return append(all, names[:len(names)-1]...), nil
			}
			all = append(all, names...)
		}
		if len(all) >= maxListing {
			return nil, fmt.Errorf("listing exceeds %d bytes", maxListing)
		}
	}
	return nil, fmt.Errorf("listing changed %d times while it was read", listTries)
}

// Watch reports changes at and below a path: the path that changed is sent to ch
// whenever there is room, and once at the beginning. Events say where to look, not
// what happened: they may be spurious or stand for several. ch is closed when the
// connection ends.
func (c *Client) Watch(ctx context.Context, path, token string, ch chan<- string) error {
	c.mu.Lock()
	if c.failed != nil || c.watches[token] != nil {
		err := c.failed
		c.mu.Unlock()
		if err == nil {
			err = fmt.Errorf("token %q is in use", token)
		}
		return fmt.Errorf("watch %s: %w", path, err)
	}
	c.watches[token] = ch
	c.mu.Unlock()
	if _, err := c.call(ctx, OpWatch, path, "\x00", token, "\x00"); err != nil {
		c.mu.Lock()
		delete(c.watches, token)
		c.mu.Unlock()
		return fmt.Errorf("watch %s: %w", path, err)
	}
	return nil
}

// Unwatch ends a watch. Its channel is left open.
func (c *Client) Unwatch(ctx context.Context, path, token string) error {
	c.mu.Lock()
	delete(c.watches, token)
	c.mu.Unlock()
	if _, err := c.call(ctx, OpUnwatch, path, "\x00", token, "\x00"); err != nil {
		return fmt.Errorf("unwatch %s: %w", path, err)
	}
	return nil
}

// Close ends the connection and with it all watches.
func (c *Client) Close() error { return c.conn.Close() }
