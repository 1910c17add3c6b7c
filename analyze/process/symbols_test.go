package process_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/linux"
	"github.com/xentape/xentape/analyze/internal/linux/imagetest"
	"github.com/xentape/xentape/analyze/process"
	"github.com/xentape/xentape/format"
)

// replaceAll changes every occurrence of a text in memory.
func replaceAll(t *testing.T, s *imagetest.Sparse, old, by string) {
	n := 0
	for f, p := range s.Frames {
		if c := bytes.Count(p[:], []byte(old)); c > 0 {
			n += c
			s.Put(f*format.PageSize, bytes.ReplaceAll(p[:], []byte(old), []byte(by)))
		}
	}
	require.Equal(t, len(old), len(by))
	require.NotZero(t, n, old)
}

// controlRegisters are vCPU registers as Xen records them, with only what leads
// to page tables.
func controlRegisters(root uint64, la57 bool) []byte {
	b := make([]byte, 5168)
	binary.LittleEndian.PutUint64(b[4984+3*8:], root)
	if la57 {
		binary.LittleEndian.PutUint64(b[4984+4*8:], 1<<12)
	}
	return b
}

// kernelRoot is the top page table of an image, from how it was found.
func kernelRoot(t *testing.T, m *imagetest.Sparse) uint64 {
	k, err := linux.Open(m, linux.Options{})
	require.NoError(t, err)
	return k.Space.Root()
}

// Each way to the symbols, when the ones before it are closed, gives the same
// processes.
func TestOtherWaysToSymbols(t *testing.T) {
	for _, f := range fixtures[1:3] { // 5.10 has no addresses in VMCOREINFO to begin with
		images, truths := fixture(t, f.name)
		root := kernelRoot(t, images[0])
		la57 := strings.HasSuffix(f.name, "la57")
		for name, way := range map[string]struct {
			change func(*testing.T, *imagetest.Sparse)
			says   string
		}{
			"kallsyms not in VMCOREINFO": {func(t *testing.T, s *imagetest.Sparse) {
				replaceAll(t, s, "SYMBOL(kallsyms_names)", "SYMBOL(-other-------_)")
			}, "kallsyms by structure"},
			"no VMCOREINFO, vCPU registers": {func(t *testing.T, s *imagetest.Sparse) {
				replaceAll(t, s, "OSRELEASE=", "osrelease=")
				s.Blobs = map[string][]byte{"xen/vcpu/0": controlRegisters(root, la57)}
			}, "xen/vcpu/0 CR3"},
			"no VMCOREINFO, no registers": {func(t *testing.T, s *imagetest.Sparse) {
				replaceAll(t, s, "OSRELEASE=", "osrelease=")
			}, "page table by shape"},
		} {
			t.Run(f.name+"/"+name, func(t *testing.T) {
				s := images[0].Clone()
				way.change(t, s)
				a := process.New(process.Options{})
				require.NoError(t, a.Feed(s))
				requireEqual(t, truths[0], a.At(1))
				require.Empty(t, a.Findings())
				said := ""
				for _, x := range a.Summary().Symbols {
					said += x.Name + ": " + x.From + "\n"
				}
				require.Contains(t, said, way.says)
				t.Log(said)
			})
		}
	}
}

// guestBTF is the type information in a guest's memory, as a file would hold it.
func guestBTF(t *testing.T, s *imagetest.Sparse) []byte {
	k, err := linux.Open(s, linux.Options{})
	require.NoError(t, err)
	lo, _ := k.Symbol("__start_BTF")
	hi, _ := k.Symbol("__stop_BTF")
	b := make([]byte, hi-lo)
	_, err = k.Space.Read(lo, b)
	require.NoError(t, err)
	return b
}

// refused says that a symbol file is of another kernel, even to a guest that has
// types of its own.
func refused(t *testing.T, symbols []byte, guests ...*imagetest.Sparse) {
	t.Helper()
	for _, g := range guests {
		var no *linux.Mismatch
		require.ErrorAs(t, process.New(process.Options{Symbols: symbols}).Feed(g), &no)
	}
}

func TestSymbolFile(t *testing.T) {
	images, truths := fixture(t, "deb12-6.1")
	other, _ := fixture(t, "sid-7.2-la57")
	older, olderTruth := fixture(t, "deb11-5.10") // its types have no per-CPU variables
	own, foreign, old := guestBTF(t, images[0]), guestBTF(t, other[0]), guestBTF(t, older[0])

	// The guest's own type information made unusable: only a file helps.
	without := images[0].Clone()
	replaceAll(t, without, string(own[:24]), strings.Repeat("\x00", 24))
	require.Error(t, process.New(process.Options{}).Feed(without))

	k, err := linux.Open(images[0], linux.Options{})
	require.NoError(t, err)
	id, err := hex.DecodeString(k.Info.BuildID())
	require.NoError(t, err)
	for says, f := range map[string][]byte{
		"per-CPU variables are where": own,
		"its build id is the guest's": imagetest.Vmlinux(own, id, ""),
		"its banner is the guest's":   imagetest.Vmlinux(own, nil, k.Banner),
	} {
		a := process.New(process.Options{Symbols: f})
		require.NoError(t, a.Feed(without))
		requireEqual(t, truths[0], a.At(1))
		require.Contains(t, fmt.Sprint(a.Summary().Symbols), says)
	}
	a := process.New(process.Options{Symbols: old})
	require.NoError(t, a.Feed(older[0]))
	requireEqual(t, olderTruth[0], a.At(a.Summary().Snapshots))
	require.Contains(t, fmt.Sprint(a.Summary().Symbols), "functions are in the symbol table")

	refused(t, foreign, without, images[0], older[0])
	refused(t, old, without, images[0], other[0])
	refused(t, imagetest.Vmlinux(own, []byte("another build of it!"), k.Banner), without, images[0])
	refused(t, imagetest.Vmlinux(own, nil, k.Banner+" another"), without, images[0])
	require.ErrorContains(t, process.New(process.Options{Symbols: []byte("PK\x03\x04")}).Feed(without), "symbol file")
}

// The ISF file of the kernel, as Volatility uses it, gives the same answers, and
// is refused for another kernel.
func TestISF(t *testing.T) {
	isf, err := os.ReadFile("testdata/deb12-6.1.isf.json.zst")
	require.NoError(t, err)
	images, truths := fixture(t, "deb12-6.1")
	a := process.New(process.Options{Symbols: isf})
	require.NoError(t, a.Feed(images[0]))
	requireEqual(t, truths[0], a.At(1))
	requireSockets(t, truths[0], a.At(1))

	other, _ := fixture(t, "sid-7.2-la57")
	var no *linux.Mismatch
	require.ErrorAs(t, process.New(process.Options{Symbols: isf}).Feed(other[0]), &no)

	// A kernel built without kallsyms: the file's addresses, moved by KASLR.
	blind := images[0].Clone()
	replaceAll(t, blind, "SYMBOL(kallsyms_names)", "SYMBOL(-other-------_)")
	replaceAll(t, blind, "0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00", "0\x001\x002\x003\x004\x005\x006\x007\x008\x00x\x00")
	require.Error(t, process.New(process.Options{}).Feed(blind))
	a = process.New(process.Options{Symbols: isf})
	require.NoError(t, a.Feed(blind))
	requireEqual(t, truths[0], a.At(1))
}

// The whole file, as it is handed around.
func TestWholeISF(t *testing.T) {
	isf, err := os.ReadFile(recording(t, "deb12-6.1.isf.json"))
	require.NoError(t, err)
	images, truths := fixture(t, "deb12-6.1")
	a := process.New(process.Options{Symbols: isf})
	require.NoError(t, a.Feed(images[0]))
	requireEqual(t, truths[0], a.At(1))
}
