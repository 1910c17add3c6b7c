package export

import (
	"encoding/binary"

	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/format/rebuild"
	"github.com/xentape/xentape/replay"
)

// LiME's header, one before each range: magic, version, first and last
// physical address (inclusive), eight reserved bytes. LiME doc/README, version 1.
const (
	limeMagic      = 0x4c694d45
	limeVersion    = 1
	limeHeaderSize = 32
)

// LiME writes memory as LiME version 1 ranges.
func LiME(f File, m replay.Memory) (losses []string, err error) {
	var off int64
	var missing uint64
	for _, e := range m.Extents() {
		var h [limeHeaderSize]byte
		binary.LittleEndian.PutUint32(h[0:], limeMagic)
		binary.LittleEndian.PutUint32(h[4:], limeVersion)
		binary.LittleEndian.PutUint64(h[8:], e.Start*format.PageSize)
		binary.LittleEndian.PutUint64(h[16:], (e.Start+e.Count)*format.PageSize-1)
		if _, err := f.WriteAt(h[:], off); err != nil {
			return nil, err
		}
		off += limeHeaderSize
		n, err := rebuild.CopyPages(f, off, m, e)
		if err != nil {
			return nil, err
		}
		missing += n
		off += int64(e.Count) * format.PageSize
	}
	if err := f.Truncate(off); err != nil {
		return nil, err
	}
	losses = rebuild.MissingLoss(missing, "memory")
	losses = append(losses, "LiME carries no processor state")
	return append(losses, pvLoss(m)...), nil
}
