//go:build linux

package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"syscall"

	"github.com/xentape/xentape/capture/internal/blktrace"
	"github.com/xentape/xentape/capture/internal/bpf"
	"github.com/xentape/xentape/capture/internal/domains"
	"github.com/xentape/xentape/capture/internal/hypercall"
)

// ServerConfig is what a broker works with. All fields must be set.
type ServerConfig struct {
	Port      hypercall.Port
	Directory *domains.Directory
	// Frames opens a descriptor that maps frames of one domain and does nothing else.
	Frames func(domain uint16) (*os.File, error)
	// Xenstored opens another connection to xenstored, to be relayed.
	Xenstored func() (io.ReadWriteCloser, error)
	// Guests are the names, UUIDs or domain ids of the guests that may be recorded;
	// empty: all.
	Guests []string
	// Paused says whether the guard has paused a domain: only then may the recorder
	// unpause it, should the guard have died.
	Paused   func(domain uint16) bool
	DebugFS  string
	Recorder int // process id
}

// server is one broker at work.
type server struct {
	config  ServerConfig
	buffers buffers

	mu      sync.Mutex
	known   map[uint16]bool   // domains and whether they may be recorded
	pinned  map[[16]byte]bool // guests that were permitted once, by UUID
	watches map[int]*watch
	last    int
}

// watch is the watching of one disk.
type watch struct {
	control interface{ Dropped() (uint64, error) } // nil: BPF, which counts for itself
	stop    func() error
	close   func() error
}

// Serve answers on the three connections until the first ends, and closes what it
// opened.
func Serve(ctx context.Context, c *Conns, cfg ServerConfig) error {
	s := &server{
		config: cfg, buffers: buffers{port: cfg.Port, all: map[uint64]*buffer{}},
		known: map[uint16]bool{}, pinned: map[[16]byte]bool{}, watches: map[int]*watch{},
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	daemon, err := cfg.Xenstored()
	if err != nil {
		return err
	}
	defer daemon.Close()
	go func() { _ = relay(c.Store, daemon) }() // its end is the recorder's to notice
	go func() { _ = s.serveCalls(c.Calls) }()
	err = s.serve(ctx, c.Requests)
	return errors.Join(err, c.Close(), s.close())
}

func (s *server) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, w := range s.watches {
		if w.stop != nil {
			errs = append(errs, w.stop())
		}
		errs = append(errs, w.close())
	}
	return errors.Join(errs...)
}

func (s *server) serve(ctx context.Context, c *net.UnixConn) error {
	for {
		var q request
		files, err := receive(c, &q)
		if cerr := closeAll(files); err == nil {
			err = cerr // a recorder has no descriptor to give
		}
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("request: %w", err)
		}
		r, files, err := s.answer(ctx, &q)
		if err != nil {
			r = reply{Error: err.Error()}
			var errno syscall.Errno
			if errors.As(err, &errno) {
				r.Errno = int(errno)
			}
		}
		if err := errors.Join(send(c, &r, files), closeAll(files)); err != nil {
			return nil // the recorder is gone
		}
	}
}

// answer does one request. The files go to the recorder and are closed here.
func (s *server) answer(ctx context.Context, q *request) (r reply, files []*os.File, err error) {
	switch q.Verb {
	case verbBuffer:
		addr, f, err := s.buffers.add(q.Bytes)
		return reply{Addr: addr}, some(f), err
	case verbLost:
		r.Count, err = s.lost(q.Number)
		return r, nil, err
	case verbStop:
		return r, nil, s.stop(q.Number)
	}
	if !s.permits(q.Domain) {
		return r, nil, fmt.Errorf("domain %d is not this recorder's: %w", q.Domain, syscall.EPERM)
	}
	switch q.Verb {
	case verbFrames:
		f, err := s.config.Frames(q.Domain)
		return r, some(f), err
	case verbDisk, verbWatch, verbTrace:
		return s.disk(ctx, q)
	case verbVif:
		return s.vif(ctx, q)
	case verbConfig, verbKernel:
		f, err := s.file(ctx, q)
		return r, some(f), err
	}
	return r, nil, fmt.Errorf("request %q is not known", q.Verb)
}

func some(f *os.File) []*os.File {
	if f == nil {
		return nil
	}
	return []*os.File{f}
}

// permits says whether a domain may be recorded. A guest that was, may be again when
// it is built anew, whatever it is called then. Domain ids are not used again before
// 32 thousand others.
func (s *server) permits(domain uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if yes, known := s.known[domain]; known {
		return yes
	}
	if domain == 0 {
		return false
	}
	g, err := s.config.Directory.Guest(context.Background(), domain)
	if err != nil {
		return false // not there, or not yet described: asked again the next time
	}
	yes := len(s.config.Guests) == 0 || s.pinned[g.UUID]
	for _, what := range s.config.Guests {
		yes = yes || g.Is(what)
	}
	s.known[domain] = yes
	if yes {
		s.pinned[g.UUID] = true
	}
	return yes
}

func (s *server) mayUnpause(domain uint16) bool { return s.config.Paused(domain) }

// serveCalls makes hypercalls.
func (s *server) serveCalls(c io.ReadWriter) error {
	le := binary.LittleEndian
	var q [callSize]byte
	for {
		if _, err := io.ReadFull(c, q[:]); err != nil {
			return err
		}
		var args [maxArgs]uint64
		for i := range args {
			args[i] = le.Uint64(q[16+8*i:])
		}
		var result int64
		var err error
		if op := le.Uint64(q[:]); op == freeBuffer {
			err = s.buffers.remove(args[0])
		} else {
			result, err = s.do(op, args, int(min(le.Uint64(q[8:]), maxArgs+1)))
		}
		var a [answerSize]byte
		le.PutUint64(a[:], uint64(result))
		if err != nil {
			errno := syscall.EIO
			errors.As(err, &errno)
			le.PutUint64(a[8:], uint64(errno))
		}
		if _, err := c.Write(a[:]); err != nil {
			return err
		}
	}
}

func (s *server) remember(w *watch) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.watches[s.last] = w
	return s.last
}

func (s *server) lost(token int) (uint64, error) {
	s.mu.Lock()
	w := s.watches[token]
	s.mu.Unlock()
	if w == nil || w.control == nil {
		return 0, fmt.Errorf("no trace %d", token)
	}
	return w.control.Dropped()
}

// stop ends a watch: the first time it stops, the second it goes away.
func (s *server) stop(token int) error {
	s.mu.Lock()
	w := s.watches[token]
	s.mu.Unlock()
	switch {
	case w == nil:
		return fmt.Errorf("no watch %d", token)
	case w.stop != nil:
		stop := w.stop
		w.stop = nil
		return stop()
	}
	s.mu.Lock()
	delete(s.watches, token)
	s.mu.Unlock()
	return w.close()
}

// watchBPF watches a device by BPF for the recorder.
func (s *server) watchBPF(o bpf.Options) (reply, []*os.File, error) {
	b, err := bpf.Watch(o)
	if err != nil {
		return reply{}, nil, err
	}
	debug.FreeOSMemory() // loading took more than all that follows
	files, err := b.Files()
	if err != nil {
		return reply{}, files, errors.Join(err, b.Close())
	}
	return reply{Token: s.remember(&watch{stop: b.Detach, close: b.Close})}, files, nil
}

// traceBlocks watches a device by the block tracer for the recorder.
func (s *server) traceBlocks(device string) (reply, []*os.File, error) {
	t, err := blktrace.Start(device, s.config.DebugFS)
	if err != nil {
		return reply{}, nil, err
	}
	var files []*os.File
	for _, f := range t.Files() {
		// The answer's files are closed after they were sent; the tracer keeps its own.
		dup, err := syscall.Dup(int(f.Fd()))
		if err != nil {
			return reply{}, files, errors.Join(err, t.Close())
		}
		files = append(files, os.NewFile(uintptr(dup), f.Name()))
	}
	return reply{Token: s.remember(&watch{control: t, stop: t.Stop, close: t.Close})}, files, nil
}
