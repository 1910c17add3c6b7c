// Package paging follows x86-64 page tables, of 4 or 5 levels, native or of a
// Xen PV guest (Intel SDM vol. 3A ch. 4; Linux arch/x86/include/asm/pgtable*.h).
package paging

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/linux/phys"
)

const (
	present  = 1 << 0
	huge     = 1 << 7
	protNone = 1 << 8 // _PAGE_PROTNONE: with present clear, mapped but not accessible (mprotect, NUMA hinting)
	addrMask = 0x000ffffffffff000
)

// Reason is why an address could not be translated.
type Reason uint8

// The reasons of a Fault.
const (
	NotMapped    Reason = iota // an entry on the way is zero
	PagedOut                   // the last entry is a swap or migration entry
	NonCanonical               // the address cannot exist
	NoFrame                    // a page-table or data frame could not be read
	NoMachine                  // a machine frame has no entry in the PV frame table
)

func (r Reason) String() string {
	return [...]string{"not mapped", "paged out", "non-canonical address", "frame unreadable", "machine frame not in xen/p2m"}[r]
}

// Fault says where a translation or read ended.
type Fault struct {
	Address uint64
	Reason  Reason
	Level   int    // of the entry that ended it, 1 = page table; 0 when there was none
	Entry   uint64 // its value
	Err     error
}

func (f *Fault) Error() string {
	s := fmt.Sprintf("address %#x: %s", f.Address, f.Reason)
	if f.Level > 0 {
		s += fmt.Sprintf(" (level %d entry %#x)", f.Level, f.Entry)
	}
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	return s
}

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Err }

// tlbSize is a power of two.
const tlbSize = 4096

type tlbEntry struct{ page, frame uint64 }

// Space is one address space: page tables from a root on.
type Space struct {
	mem    *phys.Memory
	root   uint64
	levels int
	tlb    []tlbEntry
}

// New returns the space whose top table is at guest-physical address root.
// levels is 4 or 5.
func New(mem *phys.Memory, root uint64, levels int) *Space {
	return &Space{mem: mem, root: root & addrMask, levels: levels, tlb: make([]tlbEntry, tlbSize)}
}

// Root is the guest-physical address of the top table.
func (s *Space) Root() uint64 { return s.root }

// Levels is 4 or 5.
func (s *Space) Levels() int { return s.levels }

// Flush forgets every translation; call it when memory moved to another snapshot.
func (s *Space) Flush() { clear(s.tlb) }

// User returns a space with the same depth and another root, for a process.
func (s *Space) User(root uint64) *Space {
	return &Space{mem: s.mem, root: root & addrMask, levels: s.levels, tlb: make([]tlbEntry, 64)}
}

// Translate returns the guest-physical address of va, or a *Fault.
func (s *Space) Translate(va uint64) (uint64, error) {
	e := &s.tlb[va>>12&uint64(len(s.tlb)-1)]
	if e.page == va>>12|1<<63 {
		return e.frame<<12 | va&0xfff, nil
	}
	pa, err := s.walk(va)
	if err != nil {
		return 0, err
	}
	*e = tlbEntry{va>>12 | 1<<63, pa >> 12}
	return pa, nil
}

func (s *Space) walk(va uint64) (uint64, error) {
	bits := 12 + 9*s.levels
	if top := int64(va) >> (bits - 1); top != 0 && top != -1 {
		return 0, &Fault{Address: va, Reason: NonCanonical}
	}
	table := s.root
	for level := s.levels; level >= 1; level-- {
		shift := 12 + 9*(level-1)
		p, err := s.mem.Frame(table >> 12)
		if err != nil {
			return 0, &Fault{Address: va, Reason: NoFrame, Err: err}
		}
		v := binary.LittleEndian.Uint64(p[va>>shift&511*8:])
		leaf := level == 1 || (level <= 3 && v&huge != 0)
		at := v & addrMask
		switch {
		case v&present != 0:
		case v == 0:
			return 0, &Fault{Address: va, Reason: NotMapped, Level: level}
		case leaf && v&protNone != 0:
			at = ^v & addrMask // inverted against L1TF (pgtable-invert.h)
		default:
			return 0, &Fault{Address: va, Reason: PagedOut, Level: level, Entry: v}
		}
		frame, ok := s.mem.FromMachine(at >> 12)
		if !ok {
			return 0, &Fault{Address: va, Reason: NoMachine, Level: level, Entry: v}
		}
		if leaf {
			mask := uint64(1)<<shift - 1
			return frame<<12&^mask | va&mask, nil
		}
		table = frame << 12
	}
	return 0, &Fault{Address: va, Reason: NotMapped}
}

// Read fills dst from va on. On a fault it returns how many bytes it got.
func (s *Space) Read(va uint64, dst []byte) (int, error) {
	done := 0
	for done < len(dst) {
		pa, err := s.Translate(va)
		if err != nil {
			return done, err
		}
		p, err := s.mem.Frame(pa >> 12)
		if err != nil {
			return done, &Fault{Address: va, Reason: NoFrame, Err: err}
		}
		n := copy(dst[done:], p[pa&0xfff:])
		done, va = done+n, va+uint64(n)
	}
	return done, nil
}

// U64 reads a little-endian word.
func (s *Space) U64(va uint64) (uint64, error) {
	pa, err := s.Translate(va)
	if err != nil {
		return 0, err
	}
	if o := pa & 0xfff; o <= 0xff8 {
		p, err := s.mem.Frame(pa >> 12)
		if err != nil {
			return 0, &Fault{Address: va, Reason: NoFrame, Err: err}
		}
		return binary.LittleEndian.Uint64(p[o:]), nil
	}
	var b [8]byte
	if _, err := s.Read(va, b[:]); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

// CString reads up to limit bytes before the first NUL. A string without one
// within the limit is returned cut.
func (s *Space) CString(va uint64, limit int) (string, error) {
	var out []byte
	for len(out) < limit {
		n := min(limit-len(out), 0x1000-int(va&0xfff))
		b := make([]byte, min(n, 256))
		if _, err := s.Read(va, b); err != nil {
			return string(out), err
		}
		if i := bytes.IndexByte(b, 0); i >= 0 {
			return string(append(out, b[:i]...)), nil
		}
		out, va = append(out, b...), va+uint64(len(b))
	}
	return string(out), nil
}
