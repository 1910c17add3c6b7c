// Package host is the Xen host as a whole: the way to the hypervisor, the way to
// xenstore, and which guests there are.
package host

import (
	"errors"
	"io"
	"os"

	"github.com/xentape/xentape/capture/internal/domains"
	"github.com/xentape/xentape/capture/internal/hypercall"
	"github.com/xentape/xentape/capture/internal/xenstore"
)

// Guest, Disk and Vif are what the toolstack says of a domain and its devices; Tree is
// what xenstore holds of one.
type (
	Guest = domains.Guest
	Disk  = domains.Disk
	Vif   = domains.Vif
	Tree  = xenstore.Kept
)

// ErrNoDomain says that a domain does not exist.
var ErrNoDomain = hypercall.ErrNoDomain

// Options change how the host is met.
type Options struct {
	ForceDomctl bool // go on with a domctl version that was never checked
}

// Host is this machine's hypervisor and xenstore.
type Host struct {
	*domains.Directory
}

// Open opens the hypervisor and xenstore.
func Open(o Options) (*Host, error) {
	x, err := OpenXen(o)
	if err != nil {
		return nil, err
	}
	s, err := xenstore.Open()
	if err != nil {
		return nil, errors.Join(err, x.Close())
	}
	return New(x, s), nil
}

// OpenXen opens the hypervisor alone.
func OpenXen(o Options) (*hypercall.Xen, error) {
	p, err := hypercall.OpenPrivcmd()
	if err != nil {
		return nil, err
	}
	x, err := hypercall.New(p, hypercall.Options{ForceDomctl: o.ForceDomctl})
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return x, nil
}

// On makes a host of another way to the hypervisor and to xenstore than this
// machine's.
func On(p hypercall.Port, store io.ReadWriteCloser) (*Host, error) {
	x, err := hypercall.New(p, hypercall.Options{})
	if err != nil {
		return nil, err
	}
	return New(x, xenstore.New(store)), nil
}

// OpenFrames opens a descriptor that maps frames of one domain and does nothing else.
func OpenFrames(domain uint16) (*os.File, error) {
	p, err := hypercall.OpenPrivcmd()
	if err != nil {
		return nil, err
	}
	if err := p.Restrict(domain); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p.Take()
}

// DialXenstore opens a connection to xenstored.
func DialXenstore() (io.ReadWriteCloser, error) { return xenstore.Dial() }

// A Broker opens what takes privilege; *broker.Client is one.
type Broker interface {
	Hypercalls() hypercall.Port
	Store() io.ReadWriteCloser
	OpenConfig(domain uint16) (*os.File, error)
	OpenKernel(domain uint16) (*os.File, error)
}

// Through meets the host by a broker.
func Through(b Broker, o Options) (*Host, error) {
	x, err := hypercall.New(b.Hypercalls(), hypercall.Options{ForceDomctl: o.ForceDomctl})
	if err != nil {
		return nil, err
	}
	h := New(x, xenstore.New(b.Store()))
	h.OpenConfig, h.OpenKernel = b.OpenConfig, b.OpenKernel
	return h, nil
}

// New makes a host of its parts.
func New(x *hypercall.Xen, s *xenstore.Client) *Host {
	return &Host{&domains.Directory{Xen: x, Store: s}}
}

// Close closes both.
func (h *Host) Close() error { return errors.Join(h.Store.Close(), h.Xen.Close()) }

// FormatUUID writes a UUID as xl does.
func FormatUUID(u [16]byte) string { return domains.FormatUUID(u) }
