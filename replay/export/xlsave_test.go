package export

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// smallGuest is a PV guest of a few frames; pfn n is machine frame base-n.
type smallGuest struct {
	pages       []byte
	attachments map[string][]byte
}

const smallBase = 0x1000

func (g *smallGuest) Extents() []format.Extent {
	return []format.Extent{{Start: 0, Count: uint64(len(g.pages) / format.PageSize)}}
}

func (g *smallGuest) ReadPage(n uint64, dst []byte) (format.PageState, error) {
	if n >= uint64(len(g.pages)/format.PageSize) {
		return format.PageMissing, fmt.Errorf("no frame %d", n)
	}
	copy(dst, g.pages[n*format.PageSize:])
	return format.PageData, nil
}

func (g *smallGuest) Info() replay.MemoryInfo { return replay.MemoryInfo{Guest: replay.GuestPV} }
func (g *smallGuest) Attachments() []string   { return nil }
func (g *smallGuest) Attachment(name string) ([]byte, bool) {
	b, ok := g.attachments[name]
	return b, ok
}
func (g *smallGuest) Changed() ([]format.Extent, bool) { return nil, false }

// guestOf makes a guest of 8 frames of pages, running on the L4 in frame root.
func guestOf(pages []byte, root uint8) *smallGuest {
	const frames = 8
	g := &smallGuest{pages: make([]byte, frames*format.PageSize), attachments: map[string][]byte{}}
	copy(g.pages, pages)
	var p2m []byte
	for n := range uint64(frames) {
		p2m = binary.LittleEndian.AppendUint64(p2m, smallBase-n)
	}
	g.attachments["xen/p2m"] = p2m
	context := make([]byte, vcpuContextSize)
	binary.LittleEndian.PutUint64(context[vcpuCR3:], (smallBase-uint64(root))<<12)
	g.attachments["xen/vcpu/0"] = context
	return g
}

// table is a page with entries that lead to pfns.
func table(entries map[int]uint64) []byte {
	b := make([]byte, format.PageSize)
	for i, pfn := range entries {
		binary.LittleEndian.PutUint64(b[8*i:], (smallBase-pfn)<<12|entryPresent)
	}
	return b
}

// twoProcesses are two L4s that share a kernel half, the twin that one has for user
// mode, and the tables below.
func twoProcesses() []byte {
	return slices.Concat(
		table(map[int]uint64{0: 3, 300: 4, 260: 7}), // 0: the first's L4, with a slot of Xen's
		table(map[int]uint64{1: 3, 300: 4}),         // 1: the second's L4
		table(map[int]uint64{1: 3, 511: 4}),         // 2: and its twin
		table(map[int]uint64{5: 5}),                 // 3: an L3
		table(map[int]uint64{6: 5}),                 // 4: the kernel's L3
		table(map[int]uint64{7: 6}),                 // 5: an L2
		table(map[int]uint64{8: 7, 9: 0x500}),       // 6: an L1, with a frame that is not the guest's
		table(map[int]uint64{0: 1}),                 // 7: data that looks like a table
	)
}

func TestPageTablesAreFound(t *testing.T) {
	tables, err := findPageTables(guestOf(twoProcesses(), 0))
	require.NoError(t, err)
	require.Equal(t, map[uint64]uint64{0: 4, 1: 4, 2: 4, 3: 3, 4: 3, 5: 2, 6: 1}, tables.levels)

	page := twoProcesses()[:format.PageSize]
	require.EqualValues(t, 4|libxcPagePinned, tables.normalise(0, page))
	require.EqualValues(t, 3<<12|entryPresent, entry(page, 0))
	require.Zero(t, entry(page, 260), "the hypervisor's")
	page = twoProcesses()[6*format.PageSize : 7*format.PageSize]
	require.EqualValues(t, 1, tables.normalise(6, page))
	require.EqualValues(t, 7<<12|entryPresent, entry(page, 8))
	require.Zero(t, entry(page, 9))
	require.EqualValues(t, 1, tables.foreign)
	page = twoProcesses()[7*format.PageSize:]
	require.Zero(t, tables.normalise(7, page))
	require.Equal(t, twoProcesses()[7*format.PageSize:], page)

	_, err = findPageTables(&smallGuest{attachments: map[string][]byte{"xen/p2m": make([]byte, 64)}})
	require.ErrorIs(t, err, errNoVCPU)
	_, err = findPageTables(&smallGuest{})
	require.ErrorIs(t, err, errNoP2M)
}

// nowhere counts what is written to it.
type nowhere struct{ size int64 }

func (n *nowhere) WriteAt(b []byte, off int64) (int, error) {
	n.size = max(n.size, off+int64(len(b)))
	return len(b), nil
}
func (n *nowhere) Truncate(size int64) error { n.size = size; return nil }

// FuzzXLSave: whatever a guest's memory and shared info hold, a page that is no table
// leaves as it is, and what a table's entries name are frames of the guest.
func FuzzXLSave(f *testing.F) {
	f.Add(twoProcesses(), uint8(0), []byte{})
	f.Add(twoProcesses(), uint8(1), make([]byte, format.PageSize))
	f.Add([]byte("not a table"), uint8(9), []byte{1})
	shared := make([]byte, format.PageSize)
	binary.LittleEndian.PutUint64(shared[sharedFrameListList:], smallBase-5)
	f.Add(twoProcesses(), uint8(0), shared)
	f.Fuzz(func(t *testing.T, pages []byte, root uint8, shared []byte) {
		g := guestOf(pages, root)
		g.attachments["xen/shared-info"] = shared
		var out nowhere
		if _, err := XLSave(&out, g); err != nil {
			require.Zero(t, out.size)
			return
		}
		require.Greater(t, out.size, int64(len(g.pages)))
		tables, err := findPageTables(g)
		require.NoError(t, err)
		for n := range uint64(8) {
			page := slices.Clone(g.pages[n*format.PageSize : (n+1)*format.PageSize])
			if tables.normalise(n, page) == 0 {
				require.Equal(t, g.pages[n*format.PageSize:(n+1)*format.PageSize], page)
				continue
			}
			for i := range tableEntries {
				if e := entry(page, i); e&entryPresent != 0 {
					require.Less(t, e&entryFrame>>12, uint64(8))
				}
			}
		}
	})
}
