package hypercall

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/xentape/xentape/capture/internal/xenabi"
)

// Errors of log-dirty.
var (
	// ErrTracking says that log-dirty was on already, by us or by another tool, or
	// cannot be used because a device is passed through.
	ErrTracking = errors.New("log-dirty is on already")
	// ErrNoTracking says that this guest or this Xen has no log-dirty: PV guests on
	// a Xen without shadow paging.
	ErrNoTracking = errors.New("log-dirty is not available")
)

// EnableLogDirty begins to track which frames the guest writes.
func (x *Xen) EnableLogDirty(domain uint16) error {
	err := x.call(xenabi.DomctlShadowOp, domain, func(d xenabi.Domctl) {
		d.Put32(xenabi.ShadowOpOp, xenabi.ShadowEnableLogDirty)
	}, nil)
	switch {
	case errors.Is(err, syscall.EINVAL):
		return fmt.Errorf("domain %d: %w", domain, ErrTracking)
	case errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENOSYS):
		return fmt.Errorf("domain %d: %w: %w", domain, ErrNoTracking, err)
	case err != nil:
		return fmt.Errorf("enable log-dirty of domain %d: %w", domain, err)
	}
	return nil
}

// DisableLogDirty ends the tracking.
func (x *Xen) DisableLogDirty(domain uint16) error {
	err := x.call(xenabi.DomctlShadowOp, domain, func(d xenabi.Domctl) {
		d.Put32(xenabi.ShadowOpOp, xenabi.ShadowOff)
	}, nil)
	if err != nil {
		return fmt.Errorf("disable log-dirty of domain %d: %w", domain, err)
	}
	return nil
}

// DirtyBitmap reads which of the first frames were written since the last
// reading that cleared, into bitmap: bit n%8 of byte n/8. With tracking off Xen
// answers, and says that nothing was written.
func (x *Xen) DirtyBitmap(domain uint16, bitmap *Buffer, frames uint64, clear bool) (dirty uint32, err error) {
	op := uint32(xenabi.ShadowPeek)
	if clear {
		op = xenabi.ShadowClean
	}
	if uint64(len(bitmap.Bytes)) < (frames+7)/8 {
		return 0, fmt.Errorf("dirty bitmap of domain %d: %d bytes of room for %d frames", domain, len(bitmap.Bytes), frames)
	}
	err = x.call(xenabi.DomctlShadowOp, domain, func(d xenabi.Domctl) {
		d.Put32(xenabi.ShadowOpOp, op)
		d.Put64(xenabi.ShadowOpBitmap, bitmap.Addr)
		d.Put64(xenabi.ShadowOpPages, frames)
	}, func(d xenabi.Domctl) { dirty = d.Get32(xenabi.ShadowOpDirty) })
	if err != nil {
		return 0, fmt.Errorf("dirty bitmap of domain %d: %w", domain, err)
	}
	return dirty, nil
}
