package main

import (
	"fmt"
	"math/bits"
	"runtime/debug"
	"sync"
)

// What the memory of a service goes to, in bytes. Seen of a service under load: the
// programs of recorder, broker and guard take 22 MiB, the heaps of broker and guard
// 10 MiB, twice that while the broker has the kernel's types at hand.
const (
	processes    = 48 << 20  // all that is not the recorder's rings or its heap
	leastMemory  = 128 << 20 // with less than this no guest can be recorded
	leastPerTape = 16 << 20  // of heap: chunks on their way to the file, and their compressors
	leastRing    = 1 << 18   // of a disk or an interface
)

// shares divides the memory a service may take for itself among what takes it: half
// of what the processes leave is for rings, half for the recorder's heap. A nil
// *shares has no bound.
type shares struct {
	heap int64 // of the recorder

	mu    sync.Mutex
	rings int64 // left for rings
}

// newShares divides so many bytes; 0: no bound.
func newShares(limit size) *shares {
	if limit == 0 {
		return nil
	}
	half := (int64(limit) - processes) / 2
	return &shares{heap: half, rings: half}
}

// keep makes the recorder's own heap stay within its share.
func (s *shares) keep() {
	if s != nil {
		debug.SetMemoryLimit(s.heap)
	}
}

// guests is how many may be recorded at once; each has two tapes while one segment
// gives way to the next.
func (s *shares) guests() int {
	if s == nil {
		return int(^uint(0) >> 1)
	}
	return int(s.heap / (2 * leastPerTape))
}

// tape is what one tape may remember, in bytes, with so many guests; 0: as it likes.
func (s *shares) tape(guests int) int64 {
	if s == nil {
		return 0
	}
	return max(s.heap/int64(2*max(guests, 1))-leastPerTape/2, leastPerTape/2)
}

// ring takes memory for a ring of at most want bytes that is mapped so many times,
// and says how many it may have, a power of two, and how they are given back. Nobody
// gets more than a quarter of what is left, so that something is for the next.
func (s *shares) ring(want, mappings int) (granted int, back func(), err error) {
	if s == nil {
		return want, func() {}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	part := s.rings / 4 / int64(mappings)
	if part < leastRing {
		return 0, nil, fmt.Errorf("limits: memory: nothing is left for its ring: %d bytes of all", s.rings)
	}
	granted = min(want, 1<<(bits.Len64(uint64(part))-1))
	took := int64(granted * mappings)
	s.rings -= took
	return granted, sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.rings += took
	}), nil
}

// How often the pages of a ring are mapped: those of a disk twice in a row, so that
// no event is in two parts (kernel/bpf/ringbuf.c).
const (
	diskMappings = 2
	vifMappings  = 1
)
