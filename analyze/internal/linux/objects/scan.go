package objects

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/xentape/xentape/analyze/internal/linux/paging"
	"github.com/xentape/xentape/analyze/internal/linux/phys"
	"github.com/xentape/xentape/format"
)

// Where physical memory is mapped when the kernel does not say otherwise
// (__PAGE_OFFSET_BASE_L4 and _L5, arch/x86/include/asm/page_64_types.h).
const (
	directMap4 = 0xffff888000000000
	directMap5 = 0xff11000000000000
)

// maxHits bounds what a scan keeps.
const maxHits = 1 << 18

// Scanner finds task structures anywhere in memory by the pointer each has to
// its scheduling class, one of a handful of addresses. It keeps what it found by
// frame, so that a further snapshot costs only the frames that changed.
type Scanner struct {
	hits map[uint64][]uint64 // frame: guest-physical addresses of class pointers
	n    int
}

// NewScanner returns a scanner that has seen nothing.
func NewScanner() *Scanner { return &Scanner{hits: map[uint64][]uint64{}} }

// Update scans the changed frames, or all of memory when changed is not known.
func (s *Scanner) Update(v *View, changed []format.Extent, known bool) error {
	classes := v.schedClasses()
	if len(classes) == 0 {
		return errors.New("kernel has no symbols of scheduling classes: memory cannot be searched for tasks")
	}
	if !known {
		clear(s.hits)
		s.n, changed = 0, nil
	}
	for f := range s.hits {
		if phys.Contains(changed, f) {
			s.n -= len(s.hits[f])
			delete(s.hits, f)
		}
	}
	lo, span := classes[0], classes[len(classes)-1]-classes[0]
	if known && len(changed) == 0 {
		return nil
	}
	u := v.K.Mem.Scan(changed, func(frame uint64, p *phys.Page) bool {
		for o := 0; o <= phys.PageSize-8; o += 8 {
			w := binary.LittleEndian.Uint64(p[o : o+8])
			if w-lo > span || !slices.Contains(classes, w) {
				continue
			}
			s.hits[frame] = append(s.hits[frame], frame*phys.PageSize+uint64(o))
			s.n++
		}
		return s.n < maxHits
	})
	switch {
	case s.n >= maxHits:
		return fmt.Errorf("search for tasks: %w", ErrTooMuch)
	case u.Frames > 0:
		return fmt.Errorf("search for tasks: %d frames could not be read, the first: %w", u.Frames, u.First)
	}
	return nil
}

// schedClasses are the addresses of struct sched_class, ascending.
func (v *View) schedClasses() []uint64 {
	var out []uint64
	for _, c := range []string{"fair", "idle", "rt", "dl", "stop", "ext"} {
		if a, ok := v.K.Symbol(c + "_sched_class"); ok {
			out = append(out, a)
		}
	}
	slices.Sort(out)
	return out
}

// DirectMap is where the kernel maps all of guest-physical memory.
func (v *View) DirectMap() uint64 {
	if a, ok := v.K.Symbol("page_offset_base"); ok {
		if b, err := v.K.Space.U64(a); err == nil {
			return b
		}
	}
	if v.K.Space.Levels() == 5 {
		return directMap5
	}
	return directMap4
}

// Tasks gives the addresses at which there may be a task structure, ascending.
func (s *Scanner) Tasks(v *View) ([]uint64, error) {
	o := v.K.At(0, "task_struct")
	off := o.Offset("sched_class")
	if o.Err() != nil {
		return nil, o.Err()
	}
	base := v.DirectMap()
	var out []uint64
	for _, f := range slices.Sorted(maps.Keys(s.hits)) {
		for _, pa := range s.hits[f] {
			if pa >= off {
				out = append(out, base+pa-off)
			}
		}
	}
	return out, nil
}

// Condition is whether a task structure found by search is in use.
type Condition uint8

// The conditions.
const (
	NoTask  Condition = iota // the pointer was part of something else
	Alive                    // in use: it has a kernel stack and has not exited
	Made                     // being made by fork, not yet anybody's
	Exited                   // exited, and perhaps freed
	Unknown                  // its stack cannot be read
)

// Examine reads the task structure at addr and says whether it is one.
func (v *View) Examine(addr uint64) (Task, Condition) {
	o := v.K.At(addr, "task_struct")
	t := Task{
		Addr: addr, Phys: v.Locate(addr), PID: int(o.Int("pid")), TGID: int(o.Int("tgid")), Parent: o.Ptr("real_parent"),
		Leader: o.Ptr("group_leader"), Comm: o.Text("comm"), Start: o.First("start_boottime", "real_start_time"),
		ExitState: o.Uint("exit_state"), ExitCode: o.Uint("exit_code"), Signal: o.Ptr("signal"),
		KernelThread: o.Uint("flags")&flagKernelThread != 0,
	}
	state, stack := o.First("__state", "state"), o.Ptr("stack")
	if o.Err() != nil || t.PID <= 0 || t.TGID <= 0 || !t.Plausible() || !isKernel(t.Leader) || !printable(t.Comm) {
		return t, NoTask
	}
	t.State = stateLetter(state, t.ExitState)
	switch {
	case t.ExitState&exitDead != 0 || (state&taskDead != 0 && t.ExitState == 0):
		return t, Exited
	case state&taskNew != 0:
		return t, Made
	}
	end, err := v.K.Space.U64(stack)
	switch {
	case t.ExitState&exitZombie != 0:
		return t, Alive // its stack may be gone; it waits in the lists for its parent
	case err != nil:
		var f *paging.Fault
		if errors.As(err, &f) && f.Reason == paging.NotMapped {
			return t, NoTask // a stack that is gone
		}
		return t, Unknown
	case end != stackEndMagic:
		return t, NoTask
	}
	return t, Alive
}

func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}
