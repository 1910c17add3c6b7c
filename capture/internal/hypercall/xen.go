package hypercall

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/xentape/xentape/capture/internal/xenabi"
)

// Options change how New meets the hypervisor.
type Options struct {
	// ForceDomctl goes on with a domctl interface version whose layouts were never
	// checked. Wrong layouts can pause or read the wrong thing.
	ForceDomctl bool
}

// UnknownABIError says that Xen speaks a domctl version not known here.
type UnknownABIError struct{ Version uint32 }

func (e *UnknownABIError) Error() string {
	return fmt.Sprintf("this Xen speaks domctl interface version %#x; known are %#x (Xen %s) to %#x (Xen %s)",
		e.Version, xenabi.DomctlFirstKnown, xenabi.XenOfDomctl(xenabi.DomctlFirstKnown),
		xenabi.DomctlLastKnown, xenabi.XenOfDomctl(xenabi.DomctlLastKnown))
}

// ErrNoDomain says that no domain has the id asked for.
var ErrNoDomain = errors.New("no such domain")

// Xen is the typed side of a Port. Its methods are safe for concurrent use.
type Xen struct {
	port   Port
	domctl uint32 // interface version
	major  int
	minor  int

	mu sync.Mutex // guards the buffers of single calls
	domctlBuffers

	bursting sync.Mutex // guards bursts
	bursts   []domctlBuffers
}

const argSize = 8 * xenabi.MaxPageFrameInfo

// New probes the hypervisor behind a port. The port is closed by Close.
func New(port Port, o Options) (*Xen, error) {
	x := &Xen{port: port}
	v, err := port.Call(xenabi.HypercallXenVersion, xenabi.VersionNumber, 0)
	if err != nil {
		return nil, fmt.Errorf("xen_version: %w", err)
	}
	x.major, x.minor = int(v>>16), int(v&0xffff)
	if x.domctlBuffers, err = x.newDomctlBuffers(); err != nil {
		return nil, err
	}
	if err := x.probe(o); err != nil {
		return nil, err
	}
	return x, nil
}

// probe finds the domctl version by asking about dom0 with each: a wrong one is
// EACCES (xen/common/domctl.c). Asking changes nothing.
func (x *Xen) probe(o Options) error {
	var last error
	for v := uint32(xenabi.DomctlFirstKnown); v <= xenabi.DomctlLastProbed; v++ {
		x.domctl = v
		last = x.call(xenabi.DomctlGetDomainInfo, xenabi.DomID0, nil, nil)
		if last == nil {
			if v > xenabi.DomctlLastKnown && !o.ForceDomctl {
				return &UnknownABIError{Version: v}
			}
			return nil
		}
		if !errors.Is(last, syscall.EACCES) {
			return fmt.Errorf("domctl is refused to this process: %w", last)
		}
	}
	return fmt.Errorf("no domctl interface version from %#x to %#x is accepted by Xen %d.%d: %w",
		xenabi.DomctlFirstKnown, xenabi.DomctlLastProbed, x.major, x.minor, last)
}

// Release is the version of the hypervisor.
func (x *Xen) Release() (major, minor int) { return x.major, x.minor }

// DomctlVersion is the interface version found.
func (x *Xen) DomctlVersion() uint32 { return x.domctl }

// Port is what x was made on.
func (x *Xen) Port() Port { return x.port }

// Close gives the buffers back and closes the port.
func (x *Xen) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.bursting.Lock()
	defer x.bursting.Unlock()
	var errs []error
	for _, b := range append(x.bursts, x.domctlBuffers) {
		errs = append(errs, b.ctl.Free(), b.arg.Free())
	}
	return errors.Join(append(errs, x.port.Close())...)
}

// call makes one domctl: fill sets the union, read takes from it; both may be
// nil and run with the buffers held.
func (x *Xen) call(cmd uint32, domain uint16, fill, read func(d xenabi.Domctl)) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	d := xenabi.Domctl(x.ctl.Bytes)
	d.Begin(cmd, x.domctl, domain)
	if fill != nil {
		fill(d)
	}
	if _, err := x.port.Call(xenabi.HypercallDomctl, x.ctl.Addr); err != nil {
		return err
	}
	if read != nil {
		read(d)
	}
	return nil
}

// versionString asks xen_version for a text of at most size bytes.
func (x *Xen) versionBytes(cmd uint64, size int) ([]byte, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	b := x.arg.Bytes[:size]
	clear(b)
	if _, err := x.port.Call(xenabi.HypercallXenVersion, cmd, x.arg.Addr); err != nil {
		return nil, fmt.Errorf("xen_version %d: %w", cmd, err)
	}
	return bytes.Clone(b), nil
}

func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// Identity is what Xen says of itself. Fields it refuses are empty.
type Identity struct {
	Version      string // "4.17.7-pre"
	Changeset    string
	Compiler     string
	CompileDate  string
	Capabilities string // "xen-3.0-x86_64 hvm-3.0-x86_32 …"
	CommandLine  string
	BuildID      []byte
}

// Identity asks Xen who it is.
func (x *Xen) Identity() Identity {
	id := Identity{Version: fmt.Sprintf("%d.%d", x.major, x.minor)}
	if b, err := x.versionBytes(xenabi.VersionExtra, xenabi.VersionExtraSize); err == nil {
		id.Version += text(b)
	}
	if b, err := x.versionBytes(xenabi.VersionChangeset, xenabi.VersionChangesetSize); err == nil {
		id.Changeset = text(b)
	}
	if b, err := x.versionBytes(xenabi.VersionCompileInfo, xenabi.VersionCompileInfoSize); err == nil {
		id.Compiler, id.CompileDate = text(b[:64]), text(b[112:])
	}
	if b, err := x.versionBytes(xenabi.VersionCapabilities, xenabi.VersionCapabilitiesSize); err == nil {
		id.Capabilities = text(b)
	}
	if b, err := x.versionBytes(xenabi.VersionCommandLine, xenabi.VersionCommandLineSize); err == nil {
		id.CommandLine = text(b)
	}
	id.BuildID = x.buildID()
	return id
}

// buildID asks with struct xen_build_id {u32 len; u8 buf[]} (public/version.h).
func (x *Xen) buildID() []byte {
	const room = 64
	x.mu.Lock()
	defer x.mu.Unlock()
	clear(x.arg.Bytes[:4+room])
	binary.LittleEndian.PutUint32(x.arg.Bytes, room)
	n, err := x.port.Call(xenabi.HypercallXenVersion, xenabi.VersionBuildID, x.arg.Addr)
	if err != nil || n <= 0 || n > room {
		return nil
	}
	return bytes.Clone(x.arg.Bytes[4 : 4+n])
}
