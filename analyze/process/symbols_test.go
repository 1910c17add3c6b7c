package process_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/linux"
	"github.com/xentape/xentape/analyze/internal/linux/imagetest"
	"github.com/xentape/xentape/analyze/process"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
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

// blind is a snapshot without VMCOREINFO, and without vCPU registers too unless they
// are kept.
type blind struct {
	replay.Memory
	registers bool
}

func (b blind) ReadPage(n uint64, dst []byte) (format.PageState, error) {
	st, err := b.Memory.ReadPage(n, dst)
	copy(dst, bytes.ReplaceAll(dst[:format.PageSize], []byte("OSRELEASE="), []byte("osrelease=")))
	return st, err
}

func (b blind) Attachment(name string) ([]byte, bool) {
	if !slices.Contains(b.Attachments(), name) {
		return nil, false
	}
	return b.Memory.Attachment(name)
}

func (b blind) Attachments() []string {
	return slices.DeleteFunc(slices.Clone(b.Memory.Attachments()), func(n string) bool {
		return n == "elf/note/VMCOREINFO" || n != "xen/p2m" && !b.registers
	})
}

// controlRegisters are vCPU registers as Xen records them, with only what leads
// to page tables.
func controlRegisters(t *testing.T, m *imagetest.Sparse, o process.Options) map[string][]byte {
	k, err := linux.Open(m, linux.Options(o))
	require.NoError(t, err)
	b := make([]byte, 5168)
	binary.LittleEndian.PutUint64(b[4984+3*8:], k.Space.Root())
	if k.Space.Levels() == 5 {
		binary.LittleEndian.PutUint64(b[4984+4*8:], 1<<12)
	}
	return map[string][]byte{"xen/vcpu/0": b}
}

// shipped is a snapshot of a tape recorded from a guest of Xen.
func shipped(t *testing.T, name string, snapshot int) replay.Memory {
	f, err := os.Open("../../corpus/tapes/" + name + "/tape.xtape")
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	require.NoError(t, err)
	tape, err := replay.New(name, f, st.Size(), replay.Options{})
	require.NoError(t, err)
	m, err := tape.Memory(snapshot)
	require.NoError(t, err)
	return m
}

// Without VMCOREINFO the vCPU registers, and without these the shape of page tables
// lead to the same processes: of kernels with four and five levels, with KASLR and
// without, of a PV and a PVH guest of Xen.
func TestWithoutVMCOREINFO(t *testing.T) {
	guests := map[string]replay.Memory{"pv": shipped(t, "web-intrusion", 1), "pvh": shipped(t, "miner", 2)}
	for _, name := range []string{"deb11-5.10", "deb12-6.1", "sid-7.2-la57", older} {
		images, _ := fixture(t, name)
		m := images[0].Clone()
		m.Blobs = controlRegisters(t, m, options(t, name))
		guests[name] = m
	}
	for name, m := range guests {
		n := m.Info().Snapshot
		a := process.New(options(t, name))
		cannot := a.Feed(m) // the PVH guest's tape is reduced: most processes are not in it
		require.NotEmpty(t, a.At(n), name)
		require.Contains(t, fmt.Sprint(a.Summary().Symbols), "VMCOREINFO at ", name)
		for registers, says := range map[bool]string{true: " CR3", false: "page table by shape"} {
			b := process.New(options(t, name))
			require.Equal(t, cannot, b.Feed(blind{m, registers}), name)
			require.Equal(t, a.At(n), b.At(n), name)
			require.Contains(t, fmt.Sprint(b.Summary().Symbols), says, name)
		}
	}
}

// The symbol table is found by its structure where VMCOREINFO does not have it.
func TestKallsymsByStructure(t *testing.T) {
	for _, name := range []string{"deb12-6.1", "sid-7.2-la57"} { // before 6.0 it never has
		images, truths := fixture(t, name)
		s := images[0].Clone()
		replaceAll(t, s, "SYMBOL(kallsyms_names)", "SYMBOL(-other-------_)")
		a := process.New(process.Options{})
		require.NoError(t, a.Feed(s))
		requireEqual(t, truths[0], a.At(1))
		require.Empty(t, a.Findings())
		require.Contains(t, fmt.Sprint(a.Summary().Symbols), "kallsyms by structure")
	}
}

// The same of whole recordings, as raw files would be: no notes, no registers.
func TestRecordingsWithoutVMCOREINFO(t *testing.T) {
	for _, image := range append(fresh(t), recording(t, "deb11-5.10.t1.elf"), recording(t, "deb12-6.1.t1.elf"), recording(t, "deb12-6.1.t1.hvm.xencore"), recording(t, "deb12-6.1.t1.pv-synthetic.xencore")) {
		t.Run(filepath.Base(image), func(t *testing.T) {
			a := process.New(process.Options{Symbols: symbolsFor(t, image)})
			require.NoError(t, a.Feed(blind{openImage(t, image, 1), false}))
			requireEqual(t, loadTruth(t, truthOf(image)), a.At(1))
			require.Empty(t, a.Findings())
			require.Contains(t, fmt.Sprint(a.Summary().Symbols), "page table by shape")
		})
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

// The kernels recorded that have no types of their own: each is read with its own BTF
// or ISF file, with no other's, and without one it says what it needs.
func TestRecordedSymbolFiles(t *testing.T) {
	for _, image := range fresh(t) {
		own, first := strings.CutSuffix(image, ".t1.elf")
		if !first || symbolsFor(t, image) == nil {
			continue
		}
		t.Run(filepath.Base(own), func(t *testing.T) {
			m, w := openImage(t, image, 1), loadTruth(t, truthOf(image))
			require.ErrorContains(t, process.New(process.Options{}).Feed(m), "--symbols")
			for _, form := range []string{".btf", ".isf.json"} {
				files, err := filepath.Glob(filepath.Join(filepath.Dir(image), "*"+form))
				require.NoError(t, err)
				for _, f := range files {
					b, err := os.ReadFile(f)
					require.NoError(t, err)
					a := process.New(process.Options{Symbols: b})
					if err := a.Feed(m); f != strings.TrimSuffix(own, "-wide")+form {
						var no *linux.Mismatch
						require.ErrorAs(t, err, &no, f)
						continue
					}
					require.Empty(t, a.Summary().CouldNot, f)
					requireEqual(t, w, a.At(1))
					requireSockets(t, w, a.At(1))
				}
			}
		})
	}
}
