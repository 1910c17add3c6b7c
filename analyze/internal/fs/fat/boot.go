package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/xentape/xentape/analyze/internal/fs"
)

var le = binary.LittleEndian

// ErrNotFAT says that there is no FAT or exFAT boot sector where one was looked for.
var ErrNotFAT = errors.New("not a fat boot sector")

const bootSize = 512

// kind is the width of the table's entries.
type kind uint8

const (
	fat12 kind = 12
	fat16 kind = 16
	fat32 kind = 32
	exfat kind = 64
)

// Boot is the geometry of a volume; sizes and offsets are bytes of the volume.
type Boot struct {
	kind     kind
	Cluster  uint64
	Clusters uint64 // numbered from 2
	Heap     uint64 // offset of cluster 2
	Table    uint64 // offset of the allocation table in use
	TableLen uint64
	Root     uint64 // first cluster of the root directory; 0 when it has a fixed place
	RootAt   uint64 // that place
	RootLen  uint64
	Size     uint64
	Serial   uint32
	Label    string
}

// ParseBoot decodes and checks a boot sector.
func ParseBoot(b []byte) (*Boot, error) {
	if len(b) < bootSize {
		return nil, fmt.Errorf("fat boot sector: %d bytes: %w", len(b), io.ErrUnexpectedEOF)
	}
	if b[510] != 0x55 || b[511] != 0xaa {
		return nil, ErrNotFAT
	}
	if string(b[3:11]) == "EXFAT   " {
		return parseExBoot(b)
	}
	return parseFATBoot(b)
}

func bad(field string, v any) error {
	return fmt.Errorf("fat boot sector: %s %v is out of range: %w", field, v, fs.ErrCorrupt)
}

// parseFATBoot recognises FAT by its fields: there is no magic number.
func parseFATBoot(b []byte) (*Boot, error) {
	sector, per := uint64(le.Uint16(b[11:])), uint64(b[13])
	reserved, tables, rootEntries := uint64(le.Uint16(b[14:])), uint64(b[16]), uint64(le.Uint16(b[17:]))
	if b[0] != 0xeb && b[0] != 0xe9 || sector < 512 || sector > 4096 || bits.OnesCount64(sector) != 1 ||
		per == 0 || bits.OnesCount64(per) != 1 || reserved == 0 || tables == 0 || tables > 4 || b[21] < 0xf0 ||
		bytes.HasPrefix(b[3:], []byte("NTFS")) {
		return nil, ErrNotFAT
	}
	sectors := uint64(le.Uint16(b[19:]))
	if sectors == 0 {
		sectors = uint64(le.Uint32(b[32:]))
	}
	length := uint64(le.Uint16(b[22:]))
	is32 := length == 0
	tail := b[36:]
	if is32 {
		length = uint64(le.Uint32(b[36:]))
		tail = b[64:]
	}
	if length == 0 || sectors == 0 {
		return nil, ErrNotFAT
	}
	o := &Boot{Cluster: per * sector, Size: sectors * sector, TableLen: length * sector}
	o.Table = reserved * sector
	o.RootAt = (reserved + tables*length) * sector
	o.RootLen = (rootEntries*32 + sector - 1) / sector * sector
	o.Heap = o.RootAt + o.RootLen
	if o.Heap >= o.Size {
		return nil, bad("sectors", sectors)
	}
	o.Clusters = (o.Size - o.Heap) / o.Cluster
	switch {
	case is32:
		o.kind, o.Root, o.RootAt, o.RootLen = fat32, uint64(le.Uint32(b[44:])), 0, 0
		if flags := le.Uint16(b[40:]); flags&0x80 != 0 { // not mirrored: one table is in use
			n := uint64(flags & 15)
			if n >= tables {
				return nil, bad("table in use", n)
			}
			o.Table += n * o.TableLen
		}
	case o.Clusters < 4085:
		o.kind = fat12
	default:
		o.kind = fat16
	}
	if most := o.TableLen * 8 / uint64(o.kind); o.Clusters+2 > most {
		o.Clusters = most - min(most, 2) // what the table has no entry for cannot be used
	}
	if o.Clusters == 0 || is32 && !o.valid(o.Root) {
		return nil, bad("clusters", o.Clusters)
	}
	if tail[2] == 0x29 || tail[2] == 0x28 { // extended boot signature
		o.Serial = le.Uint32(tail[3:])
		o.Label = string(bytes.TrimRight(tail[7:18], " \x00"))
	}
	return o, nil
}

func parseExBoot(b []byte) (*Boot, error) {
	ss, cs := b[108], b[109]
	if ss < 9 || ss > 12 || cs > 25-ss {
		return nil, bad("sector or cluster shift", []byte{ss, cs})
	}
	o := &Boot{
		kind: exfat, Cluster: 1 << (ss + cs), Clusters: uint64(le.Uint32(b[92:])),
		Heap: uint64(le.Uint32(b[88:])) << ss, Table: uint64(le.Uint32(b[80:])) << ss, TableLen: uint64(le.Uint32(b[84:])) << ss,
		Root: uint64(le.Uint32(b[96:])), Size: le.Uint64(b[72:]), Serial: le.Uint32(b[100:]),
	}
	if o.Size == 0 || o.Size > 1<<54 {
		return nil, bad("volume length", o.Size)
	}
	o.Size <<= ss
	if flags := le.Uint16(b[106:]); flags&1 != 0 && b[110] == 2 {
		o.Table += o.TableLen
	}
	switch {
	case o.Table == 0 || o.Heap < o.Table+o.TableLen:
		return nil, bad("table offset", o.Table)
	case o.Clusters == 0 || o.Heap > o.Size || o.Clusters > (o.Size-o.Heap)/o.Cluster || (o.Clusters+2)*4 > o.TableLen:
		return nil, bad("cluster count", o.Clusters)
	case !o.valid(o.Root):
		return nil, bad("root cluster", o.Root)
	}
	return o, nil
}

// valid reports whether c is the number of a cluster.
func (o *Boot) valid(c uint64) bool { return c >= 2 && c < o.Clusters+2 }

// offset is where cluster c stands.
func (o *Boot) offset(c uint64) uint64 { return o.Heap + (c-2)*o.Cluster }

// root is the number of the root directory: that of its first cluster, 0 for the
// fixed root of FAT12 and FAT16.
func (o *Boot) root() fs.ID { return fs.ID{Space: dirSpace, Num: o.Root} }

func (o *Boot) info() fs.Info {
	i := fs.Info{
		Type: "vfat", UUID: fmt.Sprintf("%04X-%04X", o.Serial>>16, o.Serial&0xffff), Label: o.Label,
		BlockSize: o.Cluster, Size: o.Size, Root: o.root(), Places: true, LocalTime: true, Lag: fs.WritebackLag, Grain: 2e9, Features: []string{fmt.Sprintf("fat%d", o.kind)},
	}
	if o.kind == exfat {
		i.Type, i.Features, i.LocalTime, i.Grain = "exfat", nil, false, 10e6
	}
	return i
}
