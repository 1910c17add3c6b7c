package memory

import (
	"context"
	"errors"
	"time"

	"github.com/xentape/xentape/capture/internal/hypercall"
	"github.com/xentape/xentape/capture/internal/xenabi"
	"github.com/xentape/xentape/format"
)

// Prospect is what recording a guest's memory would be like.
type Prospect struct {
	Pages      uint64 // pages there are to read
	Unreadable uint64 // of those tried
	Tried      uint64
	FullRead   time.Duration // reading and comparing everything would take, by what was tried
	LogDirty   bool          // changes could be had from Xen
	NoLogDirty string        // why not
	Grants     string        // why the grant table cannot be read; empty if it can
}

// probePages is how many pages Probe reads.
const probePages = 16 * batchFrames

// Probe looks at a guest without pausing it: where its memory is, and how fast a
// part of it reads. Guests that looking at can crash are refused.
func Probe(ctx context.Context, x *hypercall.Xen, domain uint16) (*Prospect, error) {
	info, err := x.DomainInfo(domain)
	if err != nil {
		return nil, err
	}
	l, err := plan(ctx, x, info, false)
	if err != nil {
		return nil, err
	}
	p := &Prospect{Pages: l.present.count()}
	switch {
	case !info.HVM():
		p.NoLogDirty = "PV guests need a Xen with shadow paging"
	case info.Flags&xenabi.DomainHAP == 0:
		p.NoLogDirty = "the guest has no hardware assisted paging"
	default:
		p.LogDirty = true
	}
	if _, err := x.Grants(domain); err != nil {
		p.Grants = err.Error()
	}
	return p, p.measure(ctx, x, domain, l)
}

func (p *Prospect) measure(ctx context.Context, x *hypercall.Xen, domain uint16, l *layout) error {
	r := reader{x: x, domain: domain, known: newHashes()}
	r.known.grow(l.pages)
	start := time.Now()
	err := r.read(ctx, l, l.present, func() error {
		if p.Tried >= probePages {
			return errStop
		}
		return nil
	}, func(_ uint64, got *page) error {
		p.Tried++
		if got.data == nil {
			p.Unreadable++
		}
		return nil
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	if err = errors.Join(err, r.done()); err != nil {
		return err
	}
	if p.Tried > 0 {
		p.FullRead = time.Duration(float64(time.Since(start)) * float64(p.Pages) / float64(p.Tried))
	}
	return nil
}

// Bytes is the memory there is to read.
func (p *Prospect) Bytes() uint64 { return p.Pages * format.PageSize }
