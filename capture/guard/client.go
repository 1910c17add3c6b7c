//go:build linux

package guard

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrExpired says that the budget was over before the recorder asked for the end
// of the pause.
var ErrExpired = errors.New("the guard ended the pause: its budget was over")

// Expired is an ErrExpired that says since when the guest has been running.
type Expired struct {
	At int64 // CLOCK_MONOTONIC, ns
}

func (e *Expired) Error() string { return ErrExpired.Error() }
func (e *Expired) Unwrap() error { return ErrExpired }

// PauseEnded is At.
func (e *Expired) PauseEnded() int64 { return e.At }

// Client is the recorder's side. Its methods are safe for concurrent use.
type Client struct {
	conn    io.ReadWriteCloser
	replies chan string
	rescue  Hypervisor
	wait    func() error // reaps the guard process; nil without one
	pid     int          // of it; 0 without one

	ask  sync.Mutex // one request at a time
	mu   sync.Mutex // guards held and dead
	held map[uint16][16]byte
	dead bool
	bye  bool // Close was called: the guard, not this process, undoes what is left
}

// NewClient speaks to a guard over conn. If the connection ends while domains are
// paused, rescue unpauses them at once.
func NewClient(conn io.ReadWriteCloser, rescue Hypervisor) *Client {
	c := &Client{conn: conn, rescue: rescue, replies: make(chan string, 1), held: map[uint16][16]byte{}}
	go c.listen()
	return c
}

// FD is the descriptor on which a guard process finds its connection.
const FD = 3

// Start runs the program with the arguments as a guard process, in a session of its
// own so that a terminal's interrupt does not reach it. The program must call
// Serve on descriptor FD.
func Start(rescue Hypervisor, program string, args ...string) (*Client, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("connection to the guard: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "guard"), os.NewFile(uintptr(pair[1]), "recorder")
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err = errors.Join(err, ours.Close()); err != nil {
		return nil, fmt.Errorf("connection to the guard: %w", err)
	}
	cmd := exec.Command(program, args...)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the guard: %w", err), conn.Close())
	}
	c := NewClient(conn, rescue)
	c.wait, c.pid = cmd.Wait, cmd.Process.Pid
	return c, nil
}

// PID is that of the guard process; 0 without one.
func (c *Client) PID() int { return c.pid }

// listen passes replies on. When the guard is gone, it does the guard's work.
func (c *Client) listen() {
	for in := bufio.NewScanner(c.conn); in.Scan(); {
		c.replies <- in.Text()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = true
	for domain, uuid := range c.held {
		if !c.bye {
			_ = unpauseIf(c.rescue, domain, uuid) // an error leaves nothing else to try
		}
	}
	clear(c.held)
	close(c.replies)
}

// errGone says that the guard process is not there any more.
var errGone = errors.New("the guard is gone")

func (c *Client) request(format string, args ...any) error {
	c.ask.Lock()
	defer c.ask.Unlock()
	if _, err := fmt.Fprintf(c.conn, format+"\n", args...); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	reply, open := <-c.replies
	if !open {
		return errGone
	}
	if text, failed := strings.CutPrefix(reply, "error "); failed {
		return fmt.Errorf("guard: %s", text)
	}
	if at, expired := strings.CutPrefix(reply, "expired "); expired {
		e := &Expired{}
		if _, err := fmt.Sscan(at, &e.At); err != nil {
			return errors.Join(ErrExpired, err)
		}
		return e
	}
	return nil
}

// Pause pauses a domain for at most budget. Without a guard there is no pause.
func (c *Client) Pause(domain uint16, budget time.Duration) error {
	info, err := c.rescue.DomainInfo(domain)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if c.dead {
		c.mu.Unlock()
		return errGone
	}
	c.held[domain] = info.Handle // before asking: the guard may die after it paused
	c.mu.Unlock()
	err = c.request("pause %d %d", domain, budget.Nanoseconds())
	if err != nil && !errors.Is(err, errGone) {
		c.mu.Lock()
		delete(c.held, domain)
		c.mu.Unlock()
	}
	return err
}

// Unpause ends a pause. ErrExpired, or any other error, means that the guest was
// not paused all the time until now.
func (c *Client) Unpause(domain uint16) error {
	err := c.request("unpause %d", domain)
	if !errors.Is(err, errGone) {
		c.mu.Lock()
		delete(c.held, domain)
		c.mu.Unlock()
	}
	return err
}

// Track tells the guard that dirty page tracking of a domain is the recorder's:
// the guard turns it off should the recorder die. Untrack takes that back.
func (c *Client) Track(domain uint16) error { return c.request("track %d", domain) }

// Untrack says that the recorder turned tracking off itself.
func (c *Client) Untrack(domain uint16) error { return c.request("untrack %d", domain) }

// Close ends the guard, which undoes what is left.
func (c *Client) Close() error {
	c.mu.Lock()
	c.bye = true
	c.mu.Unlock()
	err := c.conn.Close()
	if c.wait != nil {
		err = errors.Join(err, c.wait())
	}
	return err
}
