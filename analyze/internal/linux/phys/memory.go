// Package phys reads a guest's physical memory by guest frame. It keeps what was
// read of one snapshot and, for a further snapshot of the same boot, drops only
// what changed.
package phys

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// PageSize is the size of a frame in bytes.
const PageSize = format.PageSize

// cacheFrames bounds the frames kept in memory: 64 MiB.
const cacheFrames = 16384

// ErrNoP2M says that page tables of a PV guest cannot be followed because the
// snapshot holds no usable table from pseudo-physical to machine frames.
var ErrNoP2M = errors.New("PV guest without a frame table (xen/p2m): page tables hold machine frames and cannot be followed")

// FrameError says why a frame could not be read.
type FrameError struct {
	Frame uint64
	State format.PageState
	Err   error // the cause, when the snapshot had one
}

func (e *FrameError) Error() string {
	s := fmt.Sprintf("frame %#x: %s", e.Frame, stateText(e.State))
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the snapshot's own error.
func (e *FrameError) Unwrap() error { return e.Err }

func stateText(s format.PageState) string {
	switch s {
	case format.PageAbsent:
		return "not in the snapshot"
	case format.PageBallooned:
		return "ballooned out"
	case format.PageUnreadable:
		return "unreadable when recorded"
	case format.PageMissing:
		return "missing from the tape"
	case format.PageDevice:
		return "device memory"
	}
	return fmt.Sprintf("page state %d", s)
}

// Page is the content of one frame. It is shared with the cache: read only.
type Page = [PageSize]byte

// Memory is one guest's physical memory at the snapshot it was last given.
type Memory struct {
	src     replay.Memory
	frames  map[uint64]*Page
	m2p     []machineFrame // PV only, ascending by machine frame
	pv      bool
	rebuilt int
	zero    Page
}

type machineFrame struct{ mfn, pfn uint64 }

// New reads src, whose PV frame table it loads when there is one.
func New(src replay.Memory) (*Memory, error) {
	m := &Memory{src: src, frames: make(map[uint64]*Page)}
	return m, m.loadP2M()
}

// Advance moves on to a further snapshot of the same boot, keeping the frames
// that cannot have changed. It says which may have: ascending extents, or known
// false when every frame may.
func (m *Memory) Advance(src replay.Memory) (changed []format.Extent, known bool, err error) {
	changed, known = src.Changed()
	m.src = src
	if !known {
		clear(m.frames)
		return nil, false, m.loadP2M()
	}
	for f := range m.frames {
		if Contains(changed, f) {
			delete(m.frames, f)
		}
	}
	return changed, true, m.loadP2M()
}

// Contains says whether frame f lies in one of the ascending extents.
func Contains(x []format.Extent, f uint64) bool {
	i := sort.Search(len(x), func(i int) bool { return x[i].Start > f })
	return i > 0 && f-x[i-1].Start < x[i-1].Count
}

// loadP2M reads the table of a PV guest: one little-endian machine frame a
// pseudo-physical frame, all ones where there is none. A guest without one is
// asked itself.
func (m *Memory) loadP2M() error {
	m.m2p, m.pv, m.rebuilt = nil, m.src.Info().Guest == replay.GuestPV, 0
	b, ok := m.src.Attachment("xen/p2m")
	if !ok {
		if !m.pv {
			return nil
		}
		t, err := m.rebuildP2M()
		if err != nil {
			return fmt.Errorf("%w, and could not be rebuilt: %w", ErrNoP2M, err)
		}
		m.setP2M(t)
		m.rebuilt = len(t)
		return nil
	}
	t := make([]machineFrame, 0, len(b)/8)
	for pfn := uint64(0); len(b) >= 8; b, pfn = b[8:], pfn+1 {
		if mfn := binary.LittleEndian.Uint64(b); mfn < 1<<40 {
			t = append(t, machineFrame{mfn, pfn})
		}
	}
	if len(t) == 0 && m.pv {
		return fmt.Errorf("xen/p2m: no valid entry: %w", ErrNoP2M)
	}
	m.setP2M(t)
	return nil
}

func (m *Memory) setP2M(t []machineFrame) {
	slices.SortFunc(t, func(a, b machineFrame) int {
		return cmp.Or(cmp.Compare(a.mfn, b.mfn), cmp.Compare(a.pfn, b.pfn))
	})
	m.m2p, m.pv = t, true
}

// Rebuilt is how many frames of a PV guest's table were taken from its own page
// tables, 0 when the snapshot came with the table.
func (m *Memory) Rebuilt() int { return m.rebuilt }

// PV says that page tables hold machine frames.
func (m *Memory) PV() bool { return m.pv }

// Info describes the snapshot being read.
func (m *Memory) Info() replay.MemoryInfo { return m.src.Info() }

// Source is the snapshot being read.
func (m *Memory) Source() replay.Memory { return m.src }

// FromMachine turns a frame number found in a page table into a guest frame:
// itself, but for PV guests.
func (m *Memory) FromMachine(mfn uint64) (uint64, bool) {
	if !m.pv {
		return mfn, true
	}
	i := sort.Search(len(m.m2p), func(i int) bool { return m.m2p[i].mfn >= mfn })
	if i == len(m.m2p) || m.m2p[i].mfn != mfn {
		return 0, false
	}
	return m.m2p[i].pfn, true
}

// Frame returns the content of a guest frame, or a *FrameError.
func (m *Memory) Frame(f uint64) (*Page, error) {
	if p := m.frames[f]; p != nil {
		return p, nil
	}
	p := new(Page)
	st, err := m.src.ReadPage(f, p[:])
	switch {
	case err == nil && st == format.PageZero:
		p = &m.zero
	case err != nil || st != format.PageData:
		return nil, &FrameError{Frame: f, State: st, Err: err}
	}
	if len(m.frames) >= cacheFrames {
		clear(m.frames)
	}
	m.frames[f] = p
	return p, nil
}

// Read fills dst from guest-physical address pa.
func (m *Memory) Read(pa uint64, dst []byte) error {
	for len(dst) > 0 {
		p, err := m.Frame(pa / PageSize)
		if err != nil {
			return err
		}
		n := copy(dst, p[pa%PageSize:])
		dst, pa = dst[n:], pa+uint64(n)
	}
	return nil
}

// Unread counts frames a scan could not look at.
type Unread struct {
	Frames uint64
	First  error
}

// Scan gives every readable, non-zero frame to visit, ascending, until visit
// returns false. The page is valid only during the call. Zero frames are
// skipped. within limits the scan when it is not nil.
func (m *Memory) Scan(within []format.Extent, visit func(frame uint64, p *Page) bool) Unread {
	var u Unread
	buf := new(Page)
	for _, x := range Intersect(m.src.Extents(), within) {
		for f := x.Start; f-x.Start < x.Count; f++ {
			p := m.frames[f]
			if p == nil {
				st, err := m.src.ReadPage(f, buf[:])
				if err != nil {
					if u.Frames == 0 {
						u.First = &FrameError{Frame: f, State: st, Err: err}
					}
					u.Frames++
					continue
				}
				if st != format.PageData {
					continue
				}
				p = buf
			}
			if p == &m.zero {
				continue
			}
			if !visit(f, p) {
				return u
			}
		}
	}
	return u
}

// Intersect returns the frames in both ascending lists; a nil within is all.
func Intersect(all, within []format.Extent) []format.Extent {
	if within == nil {
		return all
	}
	var out []format.Extent
	for i, j := 0, 0; i < len(all) && j < len(within); {
		a, b := all[i], within[j]
		lo, hi := max(a.Start, b.Start), min(a.Start+a.Count, b.Start+b.Count)
		if lo < hi {
			out = append(out, format.Extent{Start: lo, Count: hi - lo})
		}
		if a.Start+a.Count < b.Start+b.Count {
			i++
		} else {
			j++
		}
	}
	return out
}
