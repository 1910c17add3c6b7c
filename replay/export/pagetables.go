package export

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"sort"

	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// Of a PV guest's page table entries (xen/include/asm-x86/page.h) and of the slots
// of an L4 (xen/include/asm-x86/config.h).
const (
	entryPresent  = 1
	entryFrame    = 0x000ffffffffff000
	entryAccessed = 0x60 // accessed and dirty: what a processor sets by itself
	tableEntries  = 512
	xenSlots      = 256 // of an L4, the first that is the hypervisor's
	kernelSlots   = 272 // and the first after them
)

// Where struct vcpu_guest_context of x86-64 (public/arch-x86/xen.h) has what names
// machine frames.
const (
	vcpuGDTFrames  = 4832 // u64[16]
	vcpuGDTEntries = 4960
	vcpuUserCR3    = 4992 // ctrlreg[1]: of the guest's user mode; bit 0 says that there is one
	vcpuCR3        = 5008 // ctrlreg[3]
)

// Offsets in struct shared_info of x86-64 (public/arch-x86/xen.h, arch_shared_info).
const (
	sharedFrameListList = 3096
	sharedP2MCR3        = 3112
	sharedP2MVAddr      = 3120
	sharedEnd           = 3136
)

// pageTables says which frames of a PV guest are page tables, and puts pfns in
// place of machine frames.
type pageTables struct {
	m        replay.Memory
	pfns     uint64            // length of the p2m
	m2p      []machineFrame    // ascending by machine frame
	levels   map[uint64]uint64 // pfn → 1 to 4
	contexts [][]byte          // of the vCPUs
	foreign  uint64            // entries cleared
}

type machineFrame struct{ mfn, pfn uint64 }

// findPageTables starts from the L4 of each vCPU. Other processes' L4s are known by
// the kernel's half, which all share, or, where a kernel keeps one for user mode, by
// the user's half, which that has in common with its twin.
func findPageTables(m replay.Memory) (*pageTables, error) {
	p2m, ok := m.Attachment("xen/p2m")
	if !ok || len(p2m) < 8 {
		return nil, errNoP2M
	}
	t := &pageTables{m: m, pfns: uint64(len(p2m) / 8), levels: map[uint64]uint64{}, contexts: contexts(m)}
	for n := range t.pfns {
		if mfn := binary.LittleEndian.Uint64(p2m[8*n:]); mfn <= entryFrame>>12 {
			t.m2p = append(t.m2p, machineFrame{mfn, n})
		}
	}
	slices.SortFunc(t.m2p, func(a, b machineFrame) int {
		return cmp.Or(cmp.Compare(a.mfn, b.mfn), cmp.Compare(a.pfn, b.pfn))
	})
	kernels := t.vcpuTables()
	if len(kernels) == 0 {
		return nil, errNoVCPU
	}
	t.sameKernel(kernels)
	t.twins(t.roots())
	return t, nil
}

// pfn of a machine frame of the guest.
func (t *pageTables) pfn(mfn uint64) (uint64, bool) {
	i := sort.Search(len(t.m2p), func(i int) bool { return t.m2p[i].mfn >= mfn })
	if i == len(t.m2p) || t.m2p[i].mfn != mfn {
		return 0, false
	}
	return t.m2p[i].pfn, true
}

// vcpuTables follows the tables that the vCPUs were running on, and returns the
// L4s of their kernels.
func (t *pageTables) vcpuTables() (kernels []uint64) {
	for _, c := range t.contexts {
		for _, at := range []int{vcpuCR3, vcpuUserCR3} {
			cr3 := binary.LittleEndian.Uint64(c[at:])
			if pfn, ok := t.pfn(cr3 & entryFrame >> 12); ok && cr3&entryFrame != 0 {
				t.follow(pfn)
				if at == vcpuCR3 {
					kernels = append(kernels, pfn)
				}
			}
		}
	}
	return kernels
}

// roots are the L4s known, ascending.
func (t *pageTables) roots() (all []uint64) {
	for pfn, level := range t.levels {
		if level == 4 {
			all = append(all, pfn)
		}
	}
	slices.Sort(all)
	return all
}

// follow notes an L4 and the tables below it. A frame keeps the level it was first
// seen at: Xen lets a frame be a table of one level only, but for L4s that map
// themselves.
func (t *pageTables) follow(root uint64) {
	type table struct{ pfn, level uint64 }
	page := make([]byte, format.PageSize)
	for todo := []table{{root, 4}}; len(todo) > 0; {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if t.levels[at.pfn] != 0 || !t.read(at.pfn, page) {
			continue
		}
		t.levels[at.pfn] = at.level
		if at.level == 1 {
			continue
		}
		for i := range tableEntries {
			e := binary.LittleEndian.Uint64(page[8*i:])
			if e&entryPresent == 0 || at.level == 4 && i >= xenSlots && i < kernelSlots {
				continue
			}
			if pfn, ok := t.pfn(e & entryFrame >> 12); ok && t.levels[pfn] == 0 {
				todo = append(todo, table{pfn, at.level - 1})
			}
		}
	}
}

func (t *pageTables) read(pfn uint64, page []byte) bool {
	st, err := t.m.ReadPage(pfn, page)
	return err == nil && st == format.PageData
}

// sameKernel finds the L4s in whose kernel half every entry is one that a known L4
// has in that slot, or absent. A kernel may not yet have brought a new entry to all
// of them; that half of them are absent is not to be: a table of the boot, never
// used since, has one entry.
func (t *pageTables) sameKernel(known []uint64) {
	slots := map[int]map[uint64]bool{}
	page := make([]byte, format.PageSize)
	for _, pfn := range known {
		if !t.read(pfn, page) {
			continue
		}
		for i := kernelSlots; i < tableEntries; i++ {
			if e := entry(page, i); e&entryPresent != 0 {
				if slots[i] == nil {
					slots[i] = map[uint64]bool{}
				}
				slots[i][e] = true
			}
		}
	}
	t.others(page, func() bool {
		same := 0
		for i := kernelSlots; i < tableEntries; i++ {
			if e := entry(page, i); slots[i][e] {
				same++
			} else if e != 0 {
				return false
			}
		}
		return same > 0 && 2*same >= len(slots)
	})
}

// twins finds the L4s whose user half is, whole, that of a known one.
func (t *pageTables) twins(known []uint64) {
	const half = xenSlots * 8
	halves := map[string]bool{}
	page := make([]byte, format.PageSize)
	essence := func() string {
		b := make([]byte, 0, half)
		for i := range xenSlots {
			b = binary.LittleEndian.AppendUint64(b, entry(page, i))
		}
		return string(b)
	}
	for _, pfn := range known {
		if t.read(pfn, page) {
			halves[essence()] = true
		}
	}
	delete(halves, string(make([]byte, half)))
	t.others(page, func() bool { return halves[essence()] && t.onlyTables(page) })
}

// others reads each frame that is no table yet into page and follows it as an L4 if
// that is what it is.
func (t *pageTables) others(page []byte, isRoot func() bool) {
	for _, x := range t.m.Extents() {
		for n := x.Start; n < x.Start+x.Count; n++ {
			if t.levels[n] == 0 && t.read(n, page) && isRoot() {
				t.follow(n)
			}
		}
	}
}

// onlyTables reports whether every entry present in a page leads to a frame of the
// guest, but for those in the hypervisor's slots.
func (t *pageTables) onlyTables(page []byte) bool {
	for i := range tableEntries {
		e := binary.LittleEndian.Uint64(page[8*i:])
		if i >= xenSlots && i < kernelSlots || e == 0 {
			continue
		}
		if _, ok := t.pfn(e & entryFrame >> 12); !ok || e&entryPresent == 0 {
			return false
		}
	}
	return true
}

// entry is one of a table, without accessed and dirty bits.
func entry(page []byte, i int) uint64 {
	return binary.LittleEndian.Uint64(page[8*i:]) &^ entryAccessed
}

// normalise puts pfns in place of the machine frames of a page table and returns
// its type for PAGE_DATA, 0 for a page that is none (normalise_page in
// tools/libs/guest/xg_sr_save_x86_pv.c). What names a frame that is not the
// guest's, and the hypervisor's own slots, are cleared.
func (t *pageTables) normalise(pfn uint64, page []byte) uint64 {
	level := t.levels[pfn]
	if level == 0 {
		return 0
	}
	for i := range tableEntries {
		e := binary.LittleEndian.Uint64(page[8*i:])
		if level == 4 && i >= xenSlots && i < kernelSlots {
			e = 0
		} else if e&entryPresent != 0 {
			if to, ok := t.pfn(e & entryFrame >> 12); ok {
				e = e&^entryFrame | to<<12
			} else {
				e = 0
				t.foreign++
			}
		}
		binary.LittleEndian.PutUint64(page[8*i:], e)
	}
	if level == 4 {
		return level | libxcPagePinned
	}
	return level
}

// context is a vCPU's with pfns in place of machine frames.
func (t *pageTables) context(c []byte) []byte {
	le := binary.LittleEndian
	c = bytes.Clone(c)
	frames := min(16, (le.Uint64(c[vcpuGDTEntries:])+tableEntries-1)/tableEntries)
	for i := range int(frames) {
		at := c[vcpuGDTFrames+8*i:]
		pfn, _ := t.pfn(le.Uint64(at))
		le.PutUint64(at, pfn)
	}
	for _, at := range []int{vcpuCR3, vcpuUserCR3} {
		cr3 := le.Uint64(c[at:])
		if pfn, ok := t.pfn(cr3 & entryFrame >> 12); ok && cr3&entryFrame != 0 {
			le.PutUint64(c[at:], cr3&^entryFrame|pfn<<12)
		}
	}
	return c
}

// ownP2M finds the frames in which the guest keeps its p2m: through a list of lists
// of frames, or through page tables at an address that it names.
func (t *pageTables) ownP2M() []uint64 {
	shared, ok := t.m.Attachment("xen/shared-info")
	if !ok || len(shared) < sharedEnd {
		return nil
	}
	le := binary.LittleEndian
	n := (t.pfns + tableEntries - 1) / tableEntries
	if list := le.Uint64(shared[sharedFrameListList:]); list != 0 && list != ^uint64(0) {
		lists := t.entries([]uint64{list}, (n+tableEntries-1)/tableEntries)
		return t.toPFNs(t.entries(lists, n))
	}
	root, ok := t.pfn(le.Uint64(shared[sharedP2MCR3:]) & entryFrame >> 12)
	if !ok {
		return nil
	}
	at := le.Uint64(shared[sharedP2MVAddr:])
	var pfns []uint64
	page := make([]byte, format.PageSize)
	for i := range n {
		pfn := root
		for shift := 39; shift >= 12; shift -= 9 {
			if !t.read(pfn, page) {
				return nil
			}
			e := le.Uint64(page[8*((at+i*format.PageSize)>>shift&(tableEntries-1)):])
			if pfn, ok = t.pfn(e & entryFrame >> 12); !ok || e&entryPresent == 0 {
				return nil
			}
		}
		pfns = append(pfns, pfn)
	}
	return pfns
}

// entries reads n machine frames' numbers from the frames listed.
func (t *pageTables) entries(mfns []uint64, n uint64) (all []uint64) {
	page := make([]byte, format.PageSize)
	for _, mfn := range mfns {
		pfn, ok := t.pfn(mfn)
		if !ok || !t.read(pfn, page) {
			return nil
		}
		for i := 0; i < tableEntries && uint64(len(all)) < n; i++ {
			all = append(all, binary.LittleEndian.Uint64(page[8*i:]))
		}
	}
	return all
}

func (t *pageTables) toPFNs(mfns []uint64) (pfns []uint64) {
	for _, mfn := range mfns {
		pfn, ok := t.pfn(mfn)
		if !ok {
			return nil
		}
		pfns = append(pfns, pfn)
	}
	return pfns
}
