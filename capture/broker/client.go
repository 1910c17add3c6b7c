//go:build linux

package broker

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture/internal/blktrace"
	"github.com/xentape/xentape/capture/internal/bpf"
)

// Conns are one side of what recorder and broker speak over.
type Conns struct {
	Requests *net.UnixConn // a message each way
	Calls    *net.UnixConn // hypercalls
	Store    *net.UnixConn // xenstore
}

// Close ends all three.
func (c *Conns) Close() error {
	return errors.Join(c.Requests.Close(), c.Calls.Close(), c.Store.Close())
}

// FirstFD is the descriptor on which a broker process finds the first of its
// connections; the others follow.
const FirstFD = 3

// Pair makes both sides.
func Pair() (ours, theirs *Conns, err error) {
	ours, theirs = &Conns{}, &Conns{}
	for i, kind := range []int{unix.SOCK_SEQPACKET, unix.SOCK_STREAM, unix.SOCK_STREAM} {
		pair, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, nil, fmt.Errorf("connection to the broker: %w", err)
		}
		for side, c := range []*Conns{ours, theirs} {
			conn, err := connOf(os.NewFile(uintptr(pair[side]), "broker"))
			if err != nil {
				return nil, nil, err
			}
			*c.each()[i] = conn
		}
	}
	return ours, theirs, nil
}

func (c *Conns) each() []**net.UnixConn {
	return []**net.UnixConn{&c.Requests, &c.Calls, &c.Store}
}

func connOf(f *os.File) (*net.UnixConn, error) {
	conn, err := net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("connection between recorder and broker: %w", err)
	}
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("connection between recorder and broker is no unix socket"), conn.Close())
	}
	return u, nil
}

// Inherited are the connections a broker process was started with.
func Inherited() (*Conns, error) {
	c := &Conns{}
	for i, p := range c.each() {
		conn, err := connOf(os.NewFile(uintptr(FirstFD+i), "recorder"))
		if err != nil {
			return nil, err
		}
		*p = conn
	}
	return c, nil
}

// Client is the recorder's side. Its methods are safe for concurrent use.
type Client struct {
	conns *Conns
	wait  func() error // reaps the broker process; nil without one
	pid   int          // of it; 0 without one
	ask   sync.Mutex   // one request at a time
}

// NewClient speaks to a broker.
func NewClient(c *Conns) *Client { return &Client{conns: c} }

// Start runs the program with the arguments as a broker process, in a session of its
// own so that a terminal's interrupt does not reach it. The program must call Serve on
// the connections that Inherited gives.
func Start(program string, args ...string) (*Client, error) {
	ours, theirs, err := Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	cmd := exec.Command(program, args...)
	for _, c := range theirs.each() {
		f, err := (*c).File()
		if err != nil {
			return nil, errors.Join(err, ours.Close())
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the broker: %w", err), ours.Close())
	}
	c := NewClient(ours)
	c.wait, c.pid = cmd.Wait, cmd.Process.Pid
	return c, nil
}

// PID is that of the broker process; 0 without one.
func (c *Client) PID() int { return c.pid }

// Store is the connection to xenstore.
func (c *Client) Store() io.ReadWriteCloser { return c.conns.Store }

// Close ends the broker.
func (c *Client) Close() error {
	err := c.conns.Close()
	if errors.Is(err, net.ErrClosed) { // whoever had the parts closed them
		err = nil
	}
	if c.wait != nil {
		err = errors.Join(err, c.wait())
	}
	return err
}

// errGone says that the broker process is not there any more.
var errGone = errors.New("the broker is gone")

// request asks and waits. It wants so many descriptors; -1: any number.
func (c *Client) request(q request, want int) (reply, []*os.File, error) {
	c.ask.Lock()
	defer c.ask.Unlock()
	var r reply
	if err := send(c.conns.Requests, &q, nil); err != nil {
		return r, nil, fmt.Errorf("%w: %w", errGone, err)
	}
	files, err := receive(c.conns.Requests, &r)
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w", errGone, err)
	case r.Errno != 0:
		err = &refused{r.Error, syscall.Errno(r.Errno)}
	case r.Error != "":
		err = errors.New(r.Error)
	case want >= 0 && len(files) != want:
		err = fmt.Errorf("the broker answers %q with %d descriptors", q.Verb, len(files))
	}
	if err != nil {
		return r, nil, errors.Join(err, closeAll(files))
	}
	return r, files, nil
}

// refused is an error that the broker met, with the number it had.
type refused struct {
	text  string
	errno syscall.Errno
}

func (e *refused) Error() string { return e.text }
func (e *refused) Unwrap() error { return e.errno }

func (c *Client) file(q request) (*os.File, error) {
	_, files, err := c.request(q, 1)
	if err != nil {
		return nil, err
	}
	return files[0], nil
}

// OpenConfig opens libxl's configuration of a guest.
func (c *Client) OpenConfig(domain uint16) (*os.File, error) {
	return c.file(request{Verb: verbConfig, Domain: domain})
}

// OpenKernel opens the kernel that the configuration of a guest names.
func (c *Client) OpenKernel(domain uint16) (*os.File, error) {
	return c.file(request{Verb: verbKernel, Domain: domain})
}

// Vif opens a packet socket on an interface of a guest; it is a network.Opener.
func (c *Client) Vif(domain uint16, handle int) func(ring int) (*os.File, *net.Interface, error) {
	return func(ring int) (*os.File, *net.Interface, error) {
		r, files, err := c.request(request{Verb: verbVif, Domain: domain, Number: handle, Bytes: ring}, 1)
		if err != nil {
			return nil, nil, err
		}
		if r.Device == nil {
			return nil, nil, errors.Join(errors.New("the broker does not say which interface it opened"), closeAll(files))
		}
		mac, _ := net.ParseMAC(r.Device.MAC) // none: the attribute stays empty
		return files[0], &net.Interface{Index: r.Device.Index, MTU: r.Device.MTU, HardwareAddr: mac}, nil
	}
}

// Disk is one disk of a guest; it is a disk.Opener.
func (c *Client) Disk(domain uint16, vdev int) *Disk { return &Disk{c, domain, vdev} }

// Disk opens a disk by the broker.
type Disk struct {
	c      *Client
	domain uint16
	vdev   int
}

// Device opens the block device behind it.
func (d *Disk) Device() (*os.File, error) {
	return d.c.file(request{Verb: verbDisk, Domain: d.domain, Number: d.vdev})
}

// Watch sees the requests to it by BPF.
func (d *Disk) Watch(o bpf.Options) (*bpf.Blocks, error) {
	q := request{Verb: verbWatch, Domain: d.domain, Number: d.vdev, Bytes: o.Ring, Reads: o.Reads, End: o.End}
	r, files, err := d.c.request(q, -1)
	if err != nil {
		return nil, err
	}
	t := &token{d.c, r.Token}
	b, err := bpf.FromFiles(files, func() error { return errors.Join(t.Stop(), t.Close()) })
	if cerr := closeAll(files); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, errors.Join(err, t.Stop(), t.Close())
	}
	return b, nil
}

// Trace sees the requests to it by the block tracer.
func (d *Disk) Trace() (blktrace.Control, []*os.File, error) {
	r, files, err := d.c.request(request{Verb: verbTrace, Domain: d.domain, Number: d.vdev}, -1)
	if err != nil {
		return nil, nil, err
	}
	return &token{d.c, r.Token}, files, nil
}

// token is a watch that the broker keeps.
type token struct {
	c      *Client
	number int
}

func (t *token) Stop() error {
	_, _, err := t.c.request(request{Verb: verbStop, Number: t.number}, 0)
	return err
}

// Close is the second stop: the broker lets go.
func (t *token) Close() error { return t.Stop() }

func (t *token) Dropped() (uint64, error) {
	r, _, err := t.c.request(request{Verb: verbLost, Number: t.number}, 0)
	return r.Count, err
}
