// Package volume finds what a disk is divided into: MBR, extended and GPT
// partitions, LVM2 logical volumes, and what cannot be looked into (LUKS, swap).
package volume

import (
	"encoding/binary"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

var le = binary.LittleEndian

// Kind is what a volume is.
type Kind string

// The kinds of volume.
const (
	Disk      Kind = "disk" // the whole disk, not divided
	Partition Kind = "partition"
	Logical   Kind = "lv"
)

// Volume is a run of bytes that may hold a filesystem.
type Volume struct {
	Name     string // "xvda", "xvda1", "vg0/root"
	Kind     Kind
	Type     string // partition type: MBR byte as "0x83", GPT type GUID
	Label    string // GPT partition name
	UUID     string // GPT unique GUID, LV id
	Size     uint64 // bytes
	Segments []fs.Segment
	// Opaque says why what is inside cannot be followed; empty when it can.
	Opaque string
	// Holds names a content that is recognised and is no filesystem: "luks1",
	// "luks2", "swap", "lvm2-pv".
	Holds string
}

// Layout is what was found, and the stretches of the disk that say so: a write
// there means that the layout must be read again.
type Layout struct {
	Volumes  []Volume
	Watch    []fs.Range
	Problems []string
}

// Open reads a volume of the disk.
func (v *Volume) Open(disk fs.Device) *fs.Section { return fs.NewSection(disk, v.Size, v.Segments) }

// scanner gathers a layout.
type scanner struct {
	disk    fs.Device
	name    string
	out     Layout
	pvs     []physical
	stripes uint64 // cut so far
}

// Scan reads the layout of a disk; name is the disk's ("xvda").
func Scan(disk fs.Device, name string) Layout {
	s := &scanner{disk: disk, name: name}
	s.watch(0, 34*512)
	if !s.gpt() && !s.mbr() {
		s.leaf(Volume{Name: name, Kind: Disk, Size: disk.Size(), Segments: []fs.Segment{{Len: disk.Size()}}})
	}
	s.lvm()
	return s.out
}

func (s *scanner) watch(off, n uint64) { s.out.Watch = append(s.out.Watch, fs.Range{Off: off, Len: n}) }

func (s *scanner) problem(format string, a ...any) {
	s.out.Problems = append(s.out.Problems, fmt.Sprintf(format, a...))
}

// read returns n bytes at off, nil when any is unknown or beyond the end.
func read(d fs.Device, off, n uint64) []byte {
	if off+n < off || off+n > d.Size() {
		return nil
	}
	b := make([]byte, n)
	if _, err := d.ReadAt(b, int64(off)); err != nil {
		return nil
	}
	return b
}

// partName follows the kernel: a digit at the end of the disk's name is set
// apart by a p.
func (s *scanner) partName(n int) string {
	if k := len(s.name); k > 0 && s.name[k-1] >= '0' && s.name[k-1] <= '9' {
		return fmt.Sprintf("%sp%d", s.name, n)
	}
	return fmt.Sprintf("%s%d", s.name, n)
}

// leaf files a volume by what it holds.
func (s *scanner) leaf(v Volume) {
	dev := v.Open(s.disk)
	s.watch(v.Segments[0].Disk, min(v.Size, 4096))
	switch {
	case s.luks(&v, dev):
	case isSwap(dev):
		v.Holds, v.Opaque = "swap", "swap space: no files"
	case s.pv(&v, dev):
		v.Holds, v.Opaque = "lvm2-pv", "looked into as LVM2 physical volume"
	}
	s.out.Volumes = append(s.out.Volumes, v)
}

// luks recognises both headers (LUKS on-disk format specification 1.2.3, LUKS2 1.1.3).
func (s *scanner) luks(v *Volume, dev fs.Device) bool {
	b := read(dev, 0, 592)
	if b == nil || string(b[:6]) != "LUKS\xba\xbe" {
		return false
	}
	version := binary.BigEndian.Uint16(b[6:])
	v.Holds = fmt.Sprintf("luks%d", version)
	v.Opaque = fmt.Sprintf("encrypted with LUKS%d: content cannot be read without its key", version)
	if version == 1 || version == 2 {
		v.UUID = cString(b[168:208])
	}
	return true
}

// isSwap looks for the signature at the end of the first page of the sizes in use.
func isSwap(dev fs.Device) bool {
	for _, page := range []uint64{4096, 8192, 16384, 65536} {
		if b := read(dev, page-10, 10); b != nil && (string(b) == "SWAPSPACE2" || string(b) == "SWAP-SPACE") {
			return true
		}
	}
	return false
}

func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
