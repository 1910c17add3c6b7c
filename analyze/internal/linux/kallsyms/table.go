// Package kallsyms reads the kernel's compressed table of its own symbols
// (kernel/kallsyms.c, scripts/kallsyms.c) out of memory, in each of the
// encodings x86-64 kernels have used since 4.6.
package kallsyms

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Location is where the parts of the table are, kernel virtual addresses.
type Location struct {
	NumSyms, Names, TokenTable, TokenIndex, Offsets uint64
	RelativeBase                                    uint64 // address of kallsyms_relative_base; 0 when the kernel has none
}

// Encoding is how kallsyms_offsets stand for addresses.
type Encoding uint8

// The encodings, by the kernels that use them.
const (
	AbsolutePercpu Encoding = iota // 4.6–6.14, x86 default: ≥ 0 absolute, < 0 base-1-offset
	BaseRelative                   // 4.6–6.19: base + unsigned offset
	PlaceRelative                  // 7.0 on: relative to the entry itself
)

func (e Encoding) String() string {
	return [...]string{"absolute-percpu", "base-relative", "place-relative"}[e]
}

// Encodings lists all, in the order to try.
func Encodings() []Encoding { return []Encoding{AbsolutePercpu, BaseRelative, PlaceRelative} }

// Limits of what is believed: the largest distribution kernels have 200,000
// symbols of 20 bytes.
const (
	minSyms  = 1000
	maxSyms  = 4 << 20
	maxNames = 64 << 20
)

// Reader reads kernel virtual memory; on a fault it says how much it got.
type Reader interface {
	Read(va uint64, dst []byte) (int, error)
}

// Table is the symbol table as found, its addresses not yet interpreted.
type Table struct {
	Loc     Location
	names   []byte
	offsets []byte
	tokens  [256][]byte
	count   int
	base    uint64
}

// Load reads the table at loc and checks that it holds together.
func Load(r Reader, loc Location) (*Table, error) {
	t := &Table{Loc: loc}
	var b [8]byte
	if _, err := r.Read(loc.NumSyms, b[:4]); err != nil {
		return nil, fmt.Errorf("kallsyms_num_syms: %w", err)
	}
	t.count = int(binary.LittleEndian.Uint32(b[:]))
	if t.count < minSyms || t.count > maxSyms {
		return nil, fmt.Errorf("kallsyms_num_syms: %d is not plausible", t.count)
	}
	if loc.RelativeBase != 0 {
		if _, err := r.Read(loc.RelativeBase, b[:]); err != nil {
			return nil, fmt.Errorf("kallsyms_relative_base: %w", err)
		}
		t.base = binary.LittleEndian.Uint64(b[:])
	}
	if err := t.loadTokens(r); err != nil {
		return nil, err
	}
	t.offsets = make([]byte, 4*t.count)
	if _, err := r.Read(loc.Offsets, t.offsets); err != nil {
		return nil, fmt.Errorf("kallsyms_offsets: %w", err)
	}
	return t, t.loadNames(r)
}

func (t *Table) loadTokens(r Reader) error {
	var index [512]byte
	if _, err := r.Read(t.Loc.TokenIndex, index[:]); err != nil {
		return fmt.Errorf("kallsyms_token_index: %w", err)
	}
	last := int(binary.LittleEndian.Uint16(index[510:]))
	table := make([]byte, last+256)
	n, err := r.Read(t.Loc.TokenTable, table)
	if n <= last {
		return fmt.Errorf("kallsyms_token_table: %w", err)
	}
	for i := range t.tokens {
		o := int(binary.LittleEndian.Uint16(index[2*i:]))
		if o > last {
			return fmt.Errorf("kallsyms_token_index: entry %d is %d, after the last, %d", i, o, last)
		}
		z := bytes.IndexByte(table[o:n], 0)
		if z < 0 {
			return fmt.Errorf("kallsyms_token_table: token %d does not end", i)
		}
		t.tokens[i] = table[o : o+z]
	}
	return nil
}

// loadNames reads names until count of them have been walked; their size is
// stated nowhere.
func (t *Table) loadNames(r Reader) error {
	const step = 256 << 10
	walked, at := 0, 0
	for walked < t.count {
		if len(t.names) >= maxNames {
			return fmt.Errorf("kallsyms_names: %d symbols do not end within %d bytes", t.count, maxNames)
		}
		b := make([]byte, step)
		n, err := r.Read(t.Loc.Names+uint64(len(t.names)), b)
		t.names = append(t.names, b[:n]...)
		for walked < t.count {
			_, next, ok := entry(t.names, at)
			if !ok {
				break
			}
			at, walked = next, walked+1
		}
		if walked < t.count && n < step {
			return fmt.Errorf("kallsyms_names: %d of %d symbols read: %w", walked, t.count, err)
		}
	}
	t.names = t.names[:at]
	return nil
}

// entry returns the token bytes of the name at o and where the next starts.
// Lengths of 128 and more take two bytes, least significant seven bits first
// (since 6.1, commit 73bbb94466fd3; shorter names before never reach it).
func entry(b []byte, o int) (tokens []byte, next int, ok bool) {
	if o >= len(b) {
		return nil, 0, false
	}
	n := int(b[o])
	o++
	if n&0x80 != 0 {
		if o >= len(b) {
			return nil, 0, false
		}
		n = n&0x7f | int(b[o])<<7
		o++
	}
	if n > len(b)-o {
		return nil, 0, false
	}
	return b[o : o+n], o + n, true
}

// Count is the number of symbols.
func (t *Table) Count() int { return t.count }

// Address interprets entry i.
func (t *Table) Address(e Encoding, i int) uint64 {
	v := int32(binary.LittleEndian.Uint32(t.offsets[4*i:]))
	switch e {
	case AbsolutePercpu:
		if v >= 0 {
			return uint64(v)
		}
		return t.base - 1 - uint64(int64(v))
	case BaseRelative:
		return t.base + uint64(uint32(v))
	}
	return t.Loc.Offsets + uint64(4*i) + uint64(int64(v))
}

// Each gives every symbol in table order: its index, type letter as in
// /proc/kallsyms, and name, valid during the call only.
func (t *Table) Each(visit func(i int, letter byte, name []byte)) {
	var buf []byte
	at := 0
	for i := 0; i < t.count; i++ {
		tokens, next, ok := entry(t.names, at)
		if !ok {
			return
		}
		at, buf = next, buf[:0]
		for _, c := range tokens {
			buf = append(buf, t.tokens[c]...)
		}
		if len(buf) > 1 {
			visit(i, buf[0], buf[1:])
		}
	}
}

// Index returns the entries of the wanted names; the first wins, as for the
// kernel's own lookup.
func (t *Table) Index(want map[string]bool) map[string]int {
	out := make(map[string]int, len(want))
	t.Each(func(i int, _ byte, name []byte) {
		if want[string(name)] {
			if _, dup := out[string(name)]; !dup {
				out[string(name)] = i
			}
		}
	})
	return out
}
