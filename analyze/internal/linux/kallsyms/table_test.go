package kallsyms_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/linux/kallsyms"
)

const (
	base   = 0xffffffff81000000 // of the image
	counts = 1500
)

// layout is how one generation of kernels arranges the table.
type layout struct {
	encoding kallsyms.Encoding
	before   bool // offsets and base before num_syms (to 6.3)
	seqs     bool // seqs_of_names between markers and tokens (6.1, 6.2)
	align    int  // of the parts
	long     bool // one name of more than 127 tokens (6.1 on)
	wide     bool // the count and the markers have 8 bytes (to 4.20)
}

var layouts = map[string]layout{
	"4.18": {kallsyms.AbsolutePercpu, true, false, 8, false, true},
	"5.10": {kallsyms.AbsolutePercpu, true, false, 8, false, false},
	"6.1":  {kallsyms.AbsolutePercpu, true, true, 8, true, false},
	"6.12": {kallsyms.AbsolutePercpu, false, false, 8, true, false},
	"6.18": {kallsyms.BaseRelative, false, false, 8, true, false},
	"7.2":  {kallsyms.PlaceRelative, false, false, 4, true, false},
}

// symbols are the names and addresses of a made-up kernel: two per-CPU offsets,
// then text.
func symbols(l layout) (names []string, addrs []uint64) {
	for i := range counts {
		names = append(names, fmt.Sprintf("Tsym_%d_of_%x", i, i*i))
		addrs = append(addrs, base+uint64(i)*64)
	}
	names[1200] = "Dlinux_banner"
	if l.encoding == kallsyms.AbsolutePercpu {
		names[0], addrs[0] = "Arunqueues", 0x34e40
	}
	if l.long {
		b := []byte("T")
		for i := range 300 {
			b = append(b, "abcdefghij"[i%10])
		}
		names[700] = string(b)
	}
	return names, addrs
}

// build makes the image of a kernel with a table in it.
func build(l layout) (image []byte, loc kallsyms.Location) {
	names, addrs := symbols(l)
	le := binary.LittleEndian
	pad := func(n int) {
		for len(image)%n != 0 {
			image = append(image, 0)
		}
	}
	image = make([]byte, 4096)
	offsets := func() {
		pad(l.align)
		loc.Offsets = base + uint64(len(image))
		for i, a := range addrs {
			var v uint32
			switch l.encoding {
			case kallsyms.AbsolutePercpu:
				v = uint32(a)
				if a >= base {
					v = uint32(base - 1 - a)
				}
			case kallsyms.BaseRelative:
				v = uint32(a - base)
			case kallsyms.PlaceRelative:
				v = uint32(a - loc.Offsets - uint64(4*i))
			}
			image = le.AppendUint32(image, v)
		}
		if l.encoding != kallsyms.PlaceRelative {
			pad(8)
			loc.RelativeBase = base + uint64(len(image))
			image = le.AppendUint64(image, base)
		}
	}
	if l.before {
		offsets()
	}
	pad(l.align)
	loc.NumSyms = base + uint64(len(image))
	image = le.AppendUint32(image, uint32(len(names)))
	pad(l.align)
	loc.Names = base + uint64(len(image))
	markers := []uint32{}
	for i, n := range names {
		if i%256 == 0 {
			markers = append(markers, uint32(base+uint64(len(image))-loc.Names))
		}
		if len(n) > 127 {
			image = append(image, byte(len(n))|0x80, byte(len(n)>>7))
		} else {
			image = append(image, byte(len(n)))
		}
		image = append(image, n...)
	}
	pad(l.align)
	for _, m := range markers {
		image = le.AppendUint32(image, m)
		if l.wide {
			image = le.AppendUint32(image, 0)
		}
	}
	if l.seqs {
		pad(l.align)
		image = append(image, make([]byte, 3*len(names))...)
	}
	pad(l.align)
	loc.TokenTable = base + uint64(len(image))
	var index []uint16
	for i := range 256 {
		index = append(index, uint16(base+uint64(len(image))-loc.TokenTable))
		if i >= 0x20 && i < 0x7f {
			image = append(image, byte(i), 0)
		} else {
			image = append(image, fmt.Sprintf("tok%02x\x00", i)...)
		}
	}
	pad(l.align)
	loc.TokenIndex = base + uint64(len(image))
	for _, v := range index {
		image = le.AppendUint16(image, v)
	}
	if !l.before {
		offsets()
	}
	return append(image, make([]byte, 8192)...), loc
}

// memory serves an image as kernel memory.
type memory []byte

func (m memory) Read(va uint64, dst []byte) (int, error) {
	if va < base || va-base > uint64(len(m)) {
		return 0, errors.New("not mapped")
	}
	n := copy(dst, m[va-base:])
	if n < len(dst) {
		return n, errors.New("end of image")
	}
	return n, nil
}

func TestLocateAndLoad(t *testing.T) {
	for name, l := range layouts {
		t.Run(name, func(t *testing.T) {
			image, want := build(l)
			locs, err := kallsyms.Locate(image, base)
			require.NoError(t, err)
			require.Contains(t, locs, want)
			tab, err := kallsyms.Load(memory(image), want)
			require.NoError(t, err)
			require.Equal(t, counts, tab.Count())
			names, addrs := symbols(l)
			n := 0
			tab.Each(func(i int, letter byte, name []byte) {
				require.Equal(t, names[i], string(letter)+string(name))
				require.Equal(t, addrs[i], tab.Address(l.encoding, i), names[i])
				n++
			})
			require.Equal(t, counts, n)
			require.Equal(t, map[string]int{"linux_banner": 1200}, tab.Index(map[string]bool{"linux_banner": true, "none": true}))
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	image, loc := build(layouts["6.1"])
	for name, change := range map[string]func(m []byte, l *kallsyms.Location){
		"count":    func(m []byte, l *kallsyms.Location) { binary.LittleEndian.PutUint32(m[l.NumSyms-base:], 1<<30) },
		"unmapped": func(m []byte, l *kallsyms.Location) { l.Names = 0x1000 },
		"index":    func(m []byte, l *kallsyms.Location) { m[l.TokenIndex-base+3] = 0xff },
		"past end": func(m []byte, l *kallsyms.Location) { l.Names = base + uint64(len(m)) - 100 },
	} {
		m, l := append([]byte(nil), image...), loc
		change(m, &l)
		_, err := kallsyms.Load(memory(m), l)
		require.Error(t, err, name)
	}
	_, err := kallsyms.Locate(make([]byte, 1<<20), base)
	require.ErrorContains(t, err, "token table")
}

// FuzzLocate: whatever is located lies in the image and can be loaded or is
// refused; what loads can be walked to its end.
func FuzzLocate(f *testing.F) {
	for _, l := range layouts {
		image, _ := build(l)
		f.Add(image, uint32(5000), byte(7))
	}
	f.Fuzz(func(t *testing.T, image []byte, at uint32, v byte) {
		if len(image) == 0 || len(image) > 1<<20 {
			return
		}
		image = append([]byte(nil), image...)
		image[int(at)%len(image)] = v
		locs, err := kallsyms.Locate(image, base)
		if err != nil {
			return
		}
		require.NotEmpty(t, locs)
		for _, l := range locs {
			require.Less(t, l.Offsets-base, uint64(len(image)))
			tab, err := kallsyms.Load(memory(image), l)
			if err != nil {
				continue
			}
			last := -1
			tab.Each(func(i int, _ byte, _ []byte) {
				if i <= last {
					t.Fatalf("entry %d after %d", i, last)
				}
				last = i
			})
			require.Less(t, last, tab.Count())
		}
	})
}
