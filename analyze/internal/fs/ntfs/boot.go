package ntfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/xentape/xentape/analyze/internal/fs"
)

var le = binary.LittleEndian

const (
	bootSize   = 512
	sectorSize = 512 // unit of the update sequence, whatever the device's sectors are

	maxRecordSize = 4096
	maxIndexSize  = 64 << 10
	maxCluster    = 2 << 20
)

// ErrNotNTFS says that there is no NTFS boot sector where one was looked for.
var ErrNotNTFS = errors.New("not an ntfs boot sector")

// Boot is the geometry of an NTFS volume, in bytes where not said otherwise.
type Boot struct {
	SectorSize uint32
	Cluster    uint64
	Size       uint64
	MFT        uint64 // offset of the first file record
	RecordSize uint32
	IndexSize  uint32
	Serial     uint64
}

// ParseBoot decodes and checks a boot sector.
func ParseBoot(b []byte) (*Boot, error) {
	if len(b) < bootSize {
		return nil, fmt.Errorf("ntfs boot sector: %d bytes: %w", len(b), io.ErrUnexpectedEOF)
	}
	if string(b[3:11]) != "NTFS    " || b[510] != 0x55 || b[511] != 0xaa {
		return nil, ErrNotNTFS
	}
	bad := func(field string, v any) (*Boot, error) {
		return nil, fmt.Errorf("ntfs boot sector: %s %v is out of range: %w", field, v, fs.ErrCorrupt)
	}
	o := &Boot{SectorSize: uint32(le.Uint16(b[11:])), Serial: le.Uint64(b[0x48:])}
	if o.SectorSize < 256 || o.SectorSize > 4096 || bits.OnesCount32(o.SectorSize) != 1 {
		return bad("sector size", o.SectorSize)
	}
	per := uint64(b[13])
	if per > 0x80 { // as a power of two, counted down: Windows 10 large clusters
		if 256-per > 20 {
			return bad("sectors per cluster", b[13])
		}
		per = 1 << (256 - per)
	}
	o.Cluster = per * uint64(o.SectorSize)
	if per == 0 || bits.OnesCount64(per) != 1 || o.Cluster > maxCluster {
		return bad("sectors per cluster", b[13])
	}
	sectors := le.Uint64(b[0x28:])
	if sectors == 0 || sectors > 1<<54 {
		return bad("sectors", sectors)
	}
	o.Size = sectors * uint64(o.SectorSize)
	lcn := le.Uint64(b[0x30:])
	if lcn == 0 || lcn >= o.Size/o.Cluster {
		return bad("mft cluster", lcn)
	}
	o.MFT = lcn * o.Cluster
	var ok bool
	if o.RecordSize, ok = o.size(b[0x40]); !ok || o.RecordSize < sectorSize || o.RecordSize > maxRecordSize {
		return bad("clusters per file record", int8(b[0x40]))
	}
	if o.IndexSize, ok = o.size(b[0x44]); !ok || o.IndexSize < sectorSize || o.IndexSize > maxIndexSize {
		return bad("clusters per index block", int8(b[0x44]))
	}
	return o, nil
}

// size decodes a signed count: clusters, or when negative the power of two of bytes.
func (o *Boot) size(v byte) (uint32, bool) {
	n := int8(v)
	if n < 0 {
		return 1 << min(-int(n), 31), -int(n) < 31
	}
	s := uint64(n) * o.Cluster
	return uint32(s), s > 0 && s <= 1<<20 && bits.OnesCount64(s) == 1
}
