package volume

import (
	"fmt"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// physical is an LVM2 physical volume found on the disk.
type physical struct {
	uuid string // 32 characters, no hyphens
	at   fs.Segment
	text string // the volume group as this PV describes it
}

// maxMetadata bounds the text of a volume group; the default area is 1 MiB.
const maxMetadata = 16 << 20

// pv reads the label in one of the first four sectors and the newest text of the
// first metadata area that has one (lib/format_text/layout.h of LVM2).
func (s *scanner) pv(v *Volume, dev fs.Device) bool {
	for sector := uint64(0); sector < 4; sector++ {
		b := read(dev, sector*512, 512)
		if b == nil || string(b[:8]) != "LABELONE" || string(b[24:32]) != "LVM2 001" {
			continue
		}
		off := le.Uint32(b[20:])
		if off < 32 || off > 512-40 {
			return true
		}
		p := physical{uuid: string(b[off : off+32]), at: v.Segments[0]}
		p.text = s.metadata(dev, b[off+40:])
		s.pvs = append(s.pvs, p)
		return true
	}
	return false
}

// metadata walks the disk_locn lists of a PV header: data areas, then metadata.
func (s *scanner) metadata(dev fs.Device, b []byte) string {
	list := 0
	for o := 0; o+16 <= len(b); o += 16 {
		off, size := le.Uint64(b[o:]), le.Uint64(b[o+8:])
		switch {
		case off == 0 && list == 0:
			list = 1
		case off == 0:
			return ""
		case list == 1:
			if text := s.area(dev, off, size); text != "" {
				return text
			}
		}
	}
	return ""
}

func (s *scanner) area(dev fs.Device, start, size uint64) string {
	h := read(dev, start, 512)
	if h == nil || string(h[4:20]) != " LVM2 x[5A%r0N*>" {
		return ""
	}
	if sec, ok := dev.(*fs.Section); ok && len(sec.Segments()) > 0 {
		s.watch(sec.Segments()[0].Disk+start, 512)
	}
	off, n := le.Uint64(h[40:]), le.Uint64(h[48:])
	if off == 0 || n == 0 || n > maxMetadata || off >= size || n > size-512 {
		return ""
	}
	first := min(n, size-off)
	text := read(dev, start+off, first)
	if first < n { // the text wraps to just after the header
		text = append(text, read(dev, start+512, n-first)...)
	}
	if uint64(len(text)) != n {
		return ""
	}
	return cString(text)
}

// lvm turns the physical volumes found into logical volumes. A group may span
// several partitions of the disk; what lies on other disks stays unknown.
func (s *scanner) lvm() {
	done := map[string]bool{}
	for _, p := range s.pvs {
		if p.text == "" {
			s.problem("physical volume %s: no readable metadata", p.uuid)
			continue
		}
		root, err := parseConfig(p.text)
		if err != nil {
			s.problem("physical volume %s: %v", p.uuid, err)
			continue
		}
		for _, name := range root.order {
			if vg := root.sub[name]; vg != nil && vg.sub["physical_volumes"] != nil && !done[name] {
				done[name] = true
				s.group(name, vg)
			}
		}
	}
}

func (s *scanner) group(name string, vg *section) {
	extent := vg.number("extent_size") * 512
	if extent == 0 || extent > 1<<40 {
		s.problem("volume group %s: extent_size", name)
		return
	}
	pvs := map[string]fs.Segment{} // by the group's own name for it; Disk is where extent 0 is
	for _, pv := range vg.sub["physical_volumes"].order {
		def := vg.sub["physical_volumes"].sub[pv]
		if def == nil {
			continue
		}
		if i := slices.IndexFunc(s.pvs, func(p physical) bool { return p.uuid == plain(def.text("id")) }); i >= 0 {
			start := def.number("pe_start") * 512
			at := s.pvs[i].at
			if start < at.Len {
				pvs[pv] = fs.Segment{Disk: at.Disk + start, Len: at.Len - start}
			}
		}
	}
	lvs := vg.sub["logical_volumes"]
	if lvs == nil {
		return
	}
	for _, lv := range lvs.order {
		if def := lvs.sub[lv]; def != nil {
			s.logical(name+"/"+lv, def, extent, pvs)
		}
	}
}

func plain(uuid string) string {
	return string(slices.DeleteFunc([]byte(uuid), func(c byte) bool { return c == '-' }))
}

// logical lays out one logical volume. Only striped segments, of which a linear
// one is the case of one stripe, are plain arithmetic.
func (s *scanner) logical(name string, def *section, extent uint64, pvs map[string]fs.Segment) {
	v := Volume{Name: name, Kind: Logical, UUID: def.text("id")}
	if !slices.Contains(def.words("status"), "VISIBLE") {
		return
	}
	n := def.number("segment_count")
	for i := uint64(1); i <= min(n, 65536); i++ {
		seg := def.sub[fmt.Sprintf("segment%d", i)]
		if seg == nil {
			v.Opaque = fmt.Sprintf("segment %d missing from the metadata", i)
			break
		}
		start, count := seg.number("start_extent"), seg.number("extent_count")
		if start > 1<<40 || count > 1<<40 {
			v.Opaque = "segment beyond any disk"
			break
		}
		v.Size = max(v.Size, (start+count)*extent)
		if t := seg.text("type"); t != "striped" {
			v.Opaque = fmt.Sprintf("segment type %q: not plain blocks of this disk", t)
			continue
		}
		if why := s.stripe(&v, seg, start*extent, count*extent, extent, pvs); why != "" {
			v.Opaque = why
		}
	}
	if len(v.Segments) == 0 {
		if v.Opaque == "" {
			v.Opaque = "no extents on this disk"
		}
		s.out.Volumes = append(s.out.Volumes, v)
		return
	}
	s.leaf(v)
}

// maxStripes bounds how finely all striped volumes of a disk are cut.
const maxStripes = 1 << 20

func (s *scanner) stripe(v *Volume, seg *section, off, length, extent uint64, pvs map[string]fs.Segment) string {
	list := seg.lists["stripes"]
	n := uint64(len(list) / 2)
	if n == 0 || n > 128 {
		return "segment without stripes"
	}
	size := seg.number("stripe_size") * 512
	if n == 1 {
		size = length
	}
	if size == 0 || length/size > maxStripes-min(s.stripes, maxStripes) {
		return "cut into more stripes than can be followed"
	}
	s.stripes += length/size + 1
	for at, k := uint64(0), uint64(0); at < length; k++ {
		pv, first := list[2*(k%n)], number(list[2*(k%n)+1])
		piece := min(size, length-at)
		where, known := pvs[pv]
		within := first*extent + k/n*size
		if known && first < 1<<40 && within < where.Len {
			v.Segments = append(v.Segments, fs.Segment{Off: off + at, Disk: where.Disk + within, Len: min(piece, where.Len-within)})
		}
		at += piece
	}
	return ""
}
