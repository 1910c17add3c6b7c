package memory

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/xentape/xentape/capture/internal/hypercall"
	"github.com/xentape/xentape/capture/internal/xenabi"
	"github.com/xentape/xentape/format"
)

// planPV reads the guest's physical-to-machine map. The guest wrote it: nothing
// in it is believed beyond what Xen lets this process map as the guest's.
func planPV(x *hypercall.Xen, info xenabi.DomainInfo) (*layout, error) {
	frame, err := readFrames(x, info.Domain, []uint64{info.SharedInfoFrame})
	if err != nil {
		return nil, fmt.Errorf("shared info: %w", err)
	}
	root := xenabi.ParseP2MRoot(frame)
	if limit := p2mLimit(&info); root.MaxPFN == 0 || root.MaxPFN > limit {
		return nil, fmt.Errorf("shared info of domain %d: max_pfn %#x is not within 1 and %#x: the guest has not set up its p2m, or lies",
			info.Domain, root.MaxPFN, limit)
	}
	w := &p2mWalk{x: x, domain: info.Domain, frames: (root.MaxPFN + xenabi.P2MPerFrame - 1) / xenabi.P2MPerFrame}
	var table []byte
	if root.FrameListList != 0 && root.FrameListList != xenabi.P2MInvalid {
		table, err = w.fromLists(root.FrameListList)
	} else if root.CR3 != 0 {
		table, err = w.fromPageTables(root.CR3, root.VAddr)
	} else {
		err = errors.New("neither a frame list nor a page table is offered")
	}
	if err != nil {
		return nil, fmt.Errorf("p2m of domain %d: %w", info.Domain, err)
	}
	l := &layout{pages: root.MaxPFN, present: newBitset(root.MaxPFN), p2m: make([]uint64, root.MaxPFN), total: info.TotalPages}
	for pfn := range l.p2m {
		e := binary.LittleEndian.Uint64(table[8*pfn:])
		l.p2m[pfn] = e
		switch {
		case e == xenabi.P2MInvalid: // no frame behind it
		case e&(xenabi.P2MForeignBit|xenabi.P2MIdentityBit) != 0:
			l.setState(uint64(pfn), format.PageDevice) // another domain's frame, or a device's
		default:
			l.present.add(uint64(pfn))
		}
	}
	return l, nil
}

// p2mLimit is the highest max_pfn believed: what the domain may own, doubled, and
// 4 GiB of holes.
func p2mLimit(info *xenabi.DomainInfo) uint64 {
	owned := info.MaxPages
	if owned > maxPages/4 {
		owned = min(info.TotalPages, maxPages/4)
	}
	return 2*owned + 1<<20
}

// p2mWalk collects the frames of a p2m.
type p2mWalk struct {
	x      *hypercall.Xen
	domain uint16
	frames uint64 // frames of 512 entries that the map has
}

// fromLists follows the three-level list: a root frame of frames of p2m frames.
func (w *p2mWalk) fromLists(root uint64) ([]byte, error) {
	lists := (w.frames + xenabi.P2MPerFrame - 1) / xenabi.P2MPerFrame
	if lists > xenabi.P2MPerFrame {
		return nil, fmt.Errorf("%d frames do not fit a three-level list", w.frames)
	}
	top, err := readFrames(w.x, w.domain, []uint64{root})
	if err != nil {
		return nil, fmt.Errorf("root of the frame list: %w", err)
	}
	middle, err := readFrames(w.x, w.domain, words(top, lists))
	if err != nil {
		return nil, fmt.Errorf("frame lists: %w", err)
	}
	return readFrames(w.x, w.domain, words(middle, w.frames))
}

func words(b []byte, n uint64) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return out
}

// fromPageTables follows the guest's page tables over the linear map at vaddr.
func (w *p2mWalk) fromPageTables(cr3, vaddr uint64) ([]byte, error) {
	frames := make([]uint64, w.frames)
	tables := map[uint64][]byte{} // one path of tables is alive at a time, and a few neighbours
	for i := range frames {
		va := vaddr + uint64(i)*xenabi.PageSize
		mfn := cr3 >> xenabi.PageShift
		for shift := 39; shift >= xenabi.PageShift; shift -= 9 {
			table := tables[mfn]
			if table == nil {
				if len(tables) >= 64 {
					clear(tables)
				}
				var err error
				if table, err = readFrames(w.x, w.domain, []uint64{mfn}); err != nil {
					return nil, fmt.Errorf("page table at mfn %#x for %#x: %w", mfn, va, err)
				}
				tables[mfn] = table
			}
			e := binary.LittleEndian.Uint64(table[8*(va>>shift&511):])
			if e&xenabi.PageEntryValid == 0 {
				return nil, fmt.Errorf("no page table entry for %#x at level of %d bits", va, shift)
			}
			mfn = e & xenabi.PageEntryFrame >> xenabi.PageShift
			if shift == 21 && e&xenabi.PageEntryLarge != 0 {
				mfn += va >> xenabi.PageShift & 511
				break
			}
		}
		frames[i] = mfn
	}
	return readFrames(w.x, w.domain, frames)
}

// readFrames reads whole frames, all of which must be there.
func readFrames(x *hypercall.Xen, domain uint16, frames []uint64) ([]byte, error) {
	out := make([]byte, len(frames)*xenabi.PageSize)
	for start := 0; start < len(frames); start += batchFrames {
		end := min(start+batchFrames, len(frames))
		m, err := x.Port().Map(domain, frames[start:end])
		if err != nil {
			return nil, err
		}
		for i := start; i < end && err == nil; i++ {
			if e := m.Copy(i-start, out[i*xenabi.PageSize:]); e != nil {
				err = fmt.Errorf("frame %#x: %w", frames[i], e)
			}
		}
		if err := errors.Join(err, m.Unmap()); err != nil {
			return nil, err
		}
	}
	return out, nil
}
