package memory

import (
	"context"

	"github.com/xentape/xentape/format"
)

// asking is the finding out where the memory of an HVM guest is, while what is found is
// read: asking about every number takes as long as reading the pages there are.
type asking struct {
	known chan format.Extent // of the layout, what is known by now; nil: all was at once
	err   error              // why the rest is not; once known is closed
}

// all waits until all is known.
func (a *asking) all() error {
	if a.known != nil {
		for range a.known {
		}
	}
	return a.err
}

// located waits until it is known where all of the guest's memory is.
func (sh *shot) located() error {
	if sh.asking.known == nil {
		return nil
	}
	if err := sh.asking.all(); err != nil {
		return err
	}
	sh.layout.addShared(sh.src.cfg.Xen, sh.info)
	return nil
}

// plan finds out where the guest's memory is, or begins to.
func (sh *shot) plan(ctx context.Context) (err error) {
	x := sh.src.cfg.Xen
	if !sh.info.HVM() {
		sh.layout, err = planPV(x, sh.info)
		return err
	}
	if sh.layout, err = sizeHVM(x, sh.info); err != nil {
		return err
	}
	known := make(chan format.Extent, sh.layout.pages/typesAtOnce+1)
	sh.asking.known = known
	go func() {
		defer close(known)
		sh.asking.err = sh.layout.ask(ctx, x, sh.info, sh.src.cfg.AllowPoD, func(e format.Extent) { known <- e })
	}()
	return nil
}
