package fakexen

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/xentape/xentape/capture/internal/xenabi"
)

// Domain is one imaginary guest. Set fields before it is added to a Host; after
// that use the Host's methods, which lock.
type Domain struct {
	ID       uint16
	UUID     [16]byte
	HVM      bool
	HAP      bool // log-dirty works, as for HVM and PVH with hardware assisted paging
	VCPUs    uint32
	MaxPages uint64
	Building bool // the toolstack has not let it run; see Built

	PoDEntries uint64 // gfns from PoDFirst on that a touch populates
	PoDFirst   uint64
	PoDCache   uint64 // pages left; a touch without one crashes the domain

	// Shared are frames of an HVM guest that are in Xen's own heap: shared info, then the
	// grant table. Their type is reported as if there was none.
	Shared []uint64

	// Elsewhere is how many of the frames the total leaves out: they are shared with other
	// domains.
	Elsewhere uint64

	frames map[uint64][]byte // by gfn, or by mfn for PV
	broken map[uint64]bool
	grants []xenabi.GrantEntry

	sharedInfo uint64
	pauses     int
	maxPauses  int // highest pause count seen
	paused     int // times it was paused
	dying      bool
	crashed    bool
	suspended  bool
	dirty      map[uint64]bool // nil: log-dirty is off
	tableGrown bool
	scans      int // frames asked for in Map and PageTypes
}

// NewHVM makes a PVH-like guest with frames at the given gfns, each filled with a
// content of its own.
func NewHVM(id uint16, gfns ...uint64) *Domain {
	d := &Domain{
		ID: id, HVM: true, HAP: true, VCPUs: 1, MaxPages: uint64(len(gfns)) + 256,
		frames: map[uint64][]byte{}, broken: map[uint64]bool{},
	}
	d.UUID = uuidFor(id)
	for _, g := range gfns {
		d.frames[g] = pattern(g)
	}
	return d
}

// firstMFN is where an imaginary PV guest's machine frames begin.
const firstMFN = 0x70000

// NewPV makes a PV guest of n frames. Its p2m, in frames of its own, is built as
// Linux builds it: three levels, and the same array linear behind page tables.
func NewPV(id uint16, n int, holes ...uint64) *Domain {
	d := &Domain{ID: id, VCPUs: 1, MaxPages: uint64(n), frames: map[uint64][]byte{}, broken: map[uint64]bool{}}
	d.UUID = uuidFor(id)
	p2m := make([]uint64, n)
	for pfn := range p2m {
		if slices.Contains(holes, uint64(pfn)) {
			p2m[pfn] = xenabi.P2MInvalid
			continue
		}
		// Neighbours in pfn are strangers in mfn.
		p2m[pfn] = firstMFN + uint64(pfn)*7%uint64(n*8)
		for d.frames[p2m[pfn]] != nil {
			p2m[pfn]++
		}
		d.frames[p2m[pfn]] = pattern(uint64(pfn))
	}
	d.buildP2M(p2m)
	return d
}

// P2MOf returns the machine frame of a PV guest's pfn, by its own map.
func (d *Domain) p2mOf(pfn uint64) uint64 {
	root := xenabi.ParseP2MRoot(d.frames[d.sharedInfo])
	list := d.frames[entry(d.frames[root.FrameListList], pfn/(512*512))]
	return entry(d.frames[entry(list, pfn/512%512)], pfn%512)
}

func entry(frame []byte, i uint64) uint64 { return binary.LittleEndian.Uint64(frame[8*i:]) }

func (d *Domain) buildP2M(p2m []uint64) {
	next := uint64(firstMFN - 0x1000)
	take := func() (uint64, []byte) {
		next++
		d.frames[next] = make([]byte, xenabi.PageSize)
		return next, d.frames[next]
	}
	put := func(frame []byte, i int, v uint64) { binary.LittleEndian.PutUint64(frame[8*i:], v) }
	shared, info := take()
	rootMFN, root := take()
	var leaves []uint64
	var list []byte
	for i := 0; i < len(p2m); i += xenabi.P2MPerFrame {
		if i%(xenabi.P2MPerFrame*512) == 0 {
			var mfn uint64
			mfn, list = take()
			put(root, i/(xenabi.P2MPerFrame*512), mfn)
		}
		mfn, leaf := take()
		leaves = append(leaves, mfn)
		put(list, i/xenabi.P2MPerFrame%512, mfn)
		for k := range xenabi.P2MPerFrame {
			v := xenabi.P2MInvalid
			if i+k < len(p2m) {
				v = p2m[i+k]
			}
			put(leaf, k, v)
		}
	}
	cr3, l4 := take()
	l3MFN, l3 := take()
	l2MFN, l2 := take()
	put(l4, 511, l3MFN<<xenabi.PageShift|xenabi.PageEntryValid)
	put(l3, 0, l2MFN<<xenabi.PageShift|xenabi.PageEntryValid)
	for i := 0; i < len(leaves); i += 512 {
		l1MFN, l1 := take()
		put(l2, i/512, l1MFN<<xenabi.PageShift|xenabi.PageEntryValid)
		for k, leaf := range leaves[i:min(i+512, len(leaves))] {
			put(l1, k, leaf<<xenabi.PageShift|xenabi.PageEntryValid)
		}
	}
	r := xenabi.P2MRoot{MaxPFN: uint64(len(p2m)), FrameListList: rootMFN, CR3: cr3 << xenabi.PageShift, VAddr: 0xffffff8000000000, Generation: 2}
	r.Put(info)
	d.sharedInfo = shared
	d.MaxPages = uint64(len(d.frames))
}

func (d *Domain) info() xenabi.DomainInfo {
	i := xenabi.DomainInfo{
		Domain: d.ID, MaxPages: d.MaxPages,
		TotalPages: uint64(len(d.frames)-len(d.Shared)) + d.PoDCache - d.Elsewhere, SharedPages: d.Elsewhere,
		SharedInfoFrame: d.sharedInfo, OnlineVCPUs: d.VCPUs, MaxVCPUID: d.VCPUs - 1, Handle: d.UUID,
	}
	if len(d.Shared) > 0 {
		i.SharedInfoFrame = d.Shared[0]
	}
	if !d.Building {
		i.CPUTime = 1e9
	}
	for bit, on := range map[uint32]bool{
		xenabi.DomainHVM: d.HVM, xenabi.DomainHAP: d.HVM && d.HAP, xenabi.DomainPaused: d.pauses > 0 || d.Building,
		xenabi.DomainDying: d.dying, xenabi.DomainShutdown | xenabi.ShutdownCrash<<16: d.crashed,
		xenabi.DomainShutdown | xenabi.ShutdownSuspend<<16: d.suspended,
	} {
		if on {
			i.Flags |= bit
		}
	}
	return i
}

func (d *Domain) maxGPFN() uint64 {
	if !d.HVM {
		return xenabi.ParseP2MRoot(d.frames[d.sharedInfo]).MaxPFN - 1
	}
	highest := slices.Max(append(slices.Collect(maps.Keys(d.frames)), 0))
	if d.PoDEntries > 0 {
		highest = max(highest, d.PoDFirst+d.PoDEntries-1)
	}
	return highest
}

// outstanding is how many frames are promised and not populated.
func (d *Domain) outstanding() (n uint64) {
	for frame := d.PoDFirst; frame < d.PoDFirst+d.PoDEntries; frame++ {
		if d.frames[frame] == nil {
			n++
		}
	}
	return n
}

// touch is what Xen does when a frame is looked up with P2M_ALLOC: a promised
// frame is populated from the pool, and without a pool the domain is crashed.
func (d *Domain) touch(frame uint64) {
	d.scans++
	if d.PoDEntries == 0 || frame < d.PoDFirst || frame >= d.PoDFirst+d.PoDEntries || d.frames[frame] != nil {
		return
	}
	if d.PoDCache == 0 {
		d.crashed = true
		return
	}
	d.PoDCache--
	d.frames[frame] = make([]byte, xenabi.PageSize)
}

// pattern is a page's first content: half the pages differ, every 8th is zero.
func pattern(n uint64) []byte {
	p := make([]byte, xenabi.PageSize)
	if n%8 == 7 {
		return p
	}
	copy(p, fmt.Sprintf("frame %#x of an imaginary guest", n))
	for i := 64; i < len(p); i++ {
		p[i] = byte(uint64(i) * (n + 3) >> 3)
	}
	return p
}

func uuidFor(id uint16) [16]byte {
	return [16]byte{0x5a, 0x11, 0x7e, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, byte(id >> 8), byte(id)}
}
