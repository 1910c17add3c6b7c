package memory

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/xentape/xentape/capture/internal/hypercall"
)

// dirtyLog is Xen's log of the frames a guest wrote. It has traps, all met here:
// reading it works and says "nothing" when it is off; saving or migrating the guest
// with other tools turns it off silently; and what backends write through grants
// that stay mapped is not in it.
type dirtyLog struct {
	x      *hypercall.Xen
	pauser Pauser
	domain uint16
	savers func() bool
	wait   time.Duration // how long another may still have it at the beginning
	on     bool          // turned on by us
	bitmap *hypercall.Buffer
}

// waitStep is the time between attempts to take over what another gives up.
const waitStep = 50 * time.Millisecond

// errLost says that tracking was interrupted: what changed is not known.
var errLost = errors.New("dirty page tracking was interrupted by another tool")

// ensure makes sure that the log is on and ours. It returns errLost when it was
// turned off and on behind our back, or may have been: it is on now, and everything
// has to be read once.
func (d *dirtyLog) ensure(ctx context.Context) error {
	err := d.x.EnableLogDirty(d.domain)
	for left := d.wait; errors.Is(err, hypercall.ErrTracking) && !d.on && left > 0; left -= waitStep {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(waitStep):
		}
		err = d.x.EnableLogDirty(d.domain)
	}
	d.wait = 0
	switch {
	case err == nil && d.on:
		return errLost
	case err == nil:
		d.on = true
		if err := d.pauser.Track(d.domain); err != nil {
			return errors.Join(err, d.end())
		}
		return nil
	case errors.Is(err, hypercall.ErrTracking) && d.on:
		// While another tool saves the guest, it clears bits that we never see.
		if d.savers() {
			return errLost
		}
		return nil
	}
	return err
}

// read adds the frames written since the last clearing read to set.
func (d *dirtyLog) read(frames uint64, clear bool, set bitset) error {
	if need := int(frames+7) / 8; d.bitmap == nil || len(d.bitmap.Bytes) < need {
		if d.bitmap != nil {
			if err := d.bitmap.Free(); err != nil {
				return err
			}
			d.bitmap = nil
		}
		b, err := d.x.Port().Alloc(need + 8)
		if err != nil {
			return err
		}
		d.bitmap = b
	}
	if _, err := d.x.DirtyBitmap(d.domain, d.bitmap, frames, clear); err != nil {
		return err
	}
	set.addBytes(d.bitmap.Bytes[:(frames+7)/8])
	return nil
}

// end turns tracking off if it is ours.
func (d *dirtyLog) end() error {
	var errs []error
	if d.on {
		d.on = false
		errs = append(errs, d.x.DisableLogDirty(d.domain), d.pauser.Untrack(d.domain))
	}
	if d.bitmap != nil {
		errs = append(errs, d.bitmap.Free())
		d.bitmap = nil
	}
	return errors.Join(errs...)
}

// saversRunning looks for the helper that libxl saves and migrates guests with.
func saversRunning() bool {
	names, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, name := range names {
		comm, err := os.ReadFile(name)
		// The kernel keeps 15 characters of a process's name.
		if err == nil && strings.HasPrefix(string(comm), "libxl-save-help") {
			return true
		}
	}
	return false
}
