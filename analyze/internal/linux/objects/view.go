// Package objects reads the kernel's objects: tasks, address spaces, paths,
// files, sockets, namespaces, modules, mounts, the kernel log. What a kernel
// has where is decided by which members its structures have, never by its
// version.
package objects

import (
	"errors"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/linux"
)

// Limits of what is walked, well above what a kernel of the sizes recorded can
// hold; a hostile image ends there and says so.
const (
	maxRing  = 1 << 20  // members of one list
	maxSteps = 1 << 24  // list members, slots and entries of one snapshot
	maxText  = 64 << 20 // bytes of arguments and environments of one snapshot
)

// ErrTooMuch says that a walk was given up because of its length.
var ErrTooMuch = errors.New("more objects than any real kernel has: walk given up")

// View reads the objects of one snapshot and remembers what many share.
type View struct {
	K     *linux.Kernel
	steps int
	text  int
	paths map[pathKey]string
	fs    map[uint64]superBlock
	cgrps map[uint64]string
	// names of the kernel's own mappings, by vm_special_mapping
	specials map[uint64]string
}

// NewView returns a view of the snapshot k was last given.
func NewView(k *linux.Kernel) *View {
	return &View{K: k, steps: maxSteps, text: maxText, paths: map[pathKey]string{}, fs: map[uint64]superBlock{}, cgrps: map[uint64]string{}, specials: map[uint64]string{}}
}

func (v *View) step() error { return v.charge(1) }

// What reading one costs, in steps: in proportion to what is then kept of it.
const (
	costTask   = 16
	costFile   = 16
	costRegion = 8
)

// charge takes from what one snapshot may cost.
func (v *View) charge(n int) error {
	if v.steps -= n; v.steps < 0 {
		return ErrTooMuch
	}
	return nil
}

// Locate is the guest-physical address of a kernel address, 0 when not mapped.
func (v *View) Locate(va uint64) uint64 {
	pa, err := v.K.Space.Translate(va)
	if err != nil {
		return 0
	}
	return pa
}

// ring visits the members of a list_head ring after its head, until visit
// returns false. It ends with an error where the ring cannot be followed, does
// not return to its head, or a member's prev is not where it was reached from:
// a list torn by an unpaused copy, or tampered with.
func (v *View) ring(head uint64, visit func(node uint64) bool) error {
	var broken error
	prev, slow, power, lap := head, head, 1, 0
	for n := 0; ; n++ {
		next, err := v.K.Space.U64(prev)
		if err != nil {
			return fmt.Errorf("list at %#x, after %d members: %w", head, n, err)
		}
		if next == head {
			return broken
		}
		if next == 0 {
			return fmt.Errorf("list at %#x, after %d members: null pointer", head, n)
		}
		if back, err := v.K.Space.U64(next + 8); err == nil && back != prev && broken == nil {
			broken = fmt.Errorf("list at %#x: member %#x was reached from %#x but points back to %#x", head, next, prev, back)
		}
		// Brent's cycle detection: a loop that leaves the head out.
		if next == slow {
			return fmt.Errorf("list at %#x: runs in a circle at %#x", head, next)
		}
		if lap++; lap == power {
			slow, power, lap = next, power*2, 0
		}
		if err := v.step(); err != nil || n >= maxRing {
			return fmt.Errorf("list at %#x, after %d members: %w", head, n, ErrTooMuch)
		}
		if !visit(next) {
			return broken
		}
		prev = next
	}
}
