package volume

import (
	"fmt"
	"hash/crc32"
	"unicode/utf16"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// maxPartitions bounds both kinds of table.
const maxPartitions = 256

// mbr reads a DOS partition table with its chain of extended boot records. A
// boot sector of FAT or NTFS also ends in 55 AA: what it holds at the place of
// the table rarely is one, and its own signature decides.
func (s *scanner) mbr() bool {
	b := read(s.disk, 0, 512)
	if b == nil || b[510] != 0x55 || b[511] != 0xaa || bootSector(b) {
		return false
	}
	entries := mbrEntries(b)
	if !plausible(entries, s.disk.Size()) {
		return false
	}
	for i, e := range entries {
		switch {
		case e.kind == 0 || e.count == 0:
		case e.kind == 0x05 || e.kind == 0x0f || e.kind == 0x85:
			s.extended(e)
		default:
			s.partition(i+1, e)
		}
	}
	return true
}

type mbrEntry struct {
	status, kind byte
	start, count uint64 // sectors of 512 bytes
}

func mbrEntries(b []byte) [4]mbrEntry {
	var out [4]mbrEntry
	for i := range out {
		e := b[446+16*i:]
		out[i] = mbrEntry{e[0], e[4], uint64(le.Uint32(e[8:])), uint64(le.Uint32(e[12:]))}
	}
	return out
}

func plausible(es [4]mbrEntry, size uint64) bool {
	used := 0
	for _, e := range es {
		if e.status&0x7f != 0 {
			return false
		}
		if e.kind != 0 && e.count != 0 {
			used++
			if e.start == 0 || e.start*512 >= size {
				return false
			}
		}
	}
	return used > 0
}

// bootSector recognises the filesystems that begin with one.
func bootSector(b []byte) bool {
	return string(b[3:11]) == "NTFS    " || string(b[3:11]) == "EXFAT   " ||
		string(b[54:57]) == "FAT" || string(b[82:85]) == "FAT"
}

func (s *scanner) partition(n int, e mbrEntry) {
	off := e.start * 512
	if off >= s.disk.Size() {
		s.problem("partition %d starts beyond the disk", n)
		return
	}
	size := min(e.count*512, s.disk.Size()-off)
	s.leaf(Volume{Name: s.partName(n), Kind: Partition, Type: fmt.Sprintf("%#02x", e.kind), Size: size,
		Segments: []fs.Segment{{Disk: off, Len: size}}})
}

// extended follows the chain of extended boot records. Logical partitions count
// from the record, the link to the next from the extended partition.
func (s *scanner) extended(outer mbrEntry) {
	at, seen := outer.start, map[uint64]bool{}
	for n := 5; n < maxPartitions; n++ {
		if seen[at] {
			s.problem("extended boot records form a loop at sector %d", at)
			return
		}
		seen[at] = true
		b := read(s.disk, at*512, 512)
		s.watch(at*512, 512)
		if b == nil || b[510] != 0x55 || b[511] != 0xaa {
			s.problem("extended boot record at sector %d unreadable", at)
			return
		}
		es := mbrEntries(b)
		if e := es[0]; e.kind != 0 && e.count != 0 {
			e.start += at
			s.partition(n, e)
		}
		if es[1].kind == 0 || es[1].count == 0 {
			return
		}
		at = outer.start + es[1].start
	}
}

// gpt reads the primary table, or the backup when the primary is broken, with
// 512- or 4096-byte sectors (UEFI specification 2.10, section 5.3).
func (s *scanner) gpt() bool {
	for _, sector := range []uint64{512, 4096} {
		if s.gptAt(sector, sector) {
			return true
		}
		if size := s.disk.Size() / sector * sector; size > 2*sector && s.gptAt(size-sector, sector) {
			s.problem("primary GPT broken: the backup was used")
			return true
		}
	}
	return false
}

func (s *scanner) gptAt(off, sector uint64) bool {
	h := read(s.disk, off, sector)
	if h == nil || string(h[:8]) != "EFI PART" {
		return false
	}
	length := le.Uint32(h[12:])
	if length < 92 || uint64(length) > sector {
		return false
	}
	c := append([]byte(nil), h[:length]...)
	le.PutUint32(c[16:], 0)
	if crc32.ChecksumIEEE(c) != le.Uint32(h[16:]) {
		return false
	}
	table, count, entry := le.Uint64(h[72:]), uint64(le.Uint32(h[80:])), uint64(le.Uint32(h[84:]))
	if entry < 128 || entry > 4096 || count > 1024 || table > s.disk.Size()/sector {
		return false
	}
	es := read(s.disk, table*sector, count*entry)
	if es == nil || crc32.ChecksumIEEE(es) != le.Uint32(h[88:]) {
		return false
	}
	s.watch(table*sector, count*entry)
	s.watch(off, sector)
	for n := range min(count, maxPartitions) {
		s.gptEntry(int(n)+1, es[n*entry:(n+1)*entry], sector)
	}
	return true
}

func (s *scanner) gptEntry(n int, e []byte, sector uint64) {
	first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
	if guid(e) == "00000000-0000-0000-0000-000000000000" {
		return
	}
	if first == 0 || last < first || first >= s.disk.Size()/sector {
		s.problem("partition %d: sectors %d to %d are not on the disk", n, first, last)
		return
	}
	size := min((last-first+1)*sector, s.disk.Size()-first*sector)
	var name []uint16
	for o := 56; o+2 <= 128; o += 2 {
		if c := le.Uint16(e[o:]); c != 0 {
			name = append(name, c)
		} else {
			break
		}
	}
	s.leaf(Volume{Name: s.partName(n), Kind: Partition, Type: guid(e), UUID: guid(e[16:]), Label: string(utf16.Decode(name)),
		Size: size, Segments: []fs.Segment{{Disk: first * sector, Len: size}}})
}

// guid prints the mixed-endian form.
func guid(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}
