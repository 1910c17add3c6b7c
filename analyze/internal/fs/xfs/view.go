package xfs

import (
	"hash/crc32"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// view is the device with the committed changes that have not been written in
// place laid over it, sector by sector, each with the log position it is from.
type view struct {
	*fs.Layer
	lsn map[uint64]LSN // by basic block
}

func newView(dev fs.Device) *view {
	return &view{Layer: fs.NewLayer(dev, basicBlock), lsn: map[uint64]LSN{}}
}

// put lays data, whole basic blocks, over the device at off.
func (v *view) put(off int64, data []byte, lsn LSN) {
	for n := uint64(off) / basicBlock; len(data) >= basicBlock; n++ {
		v.Put(n, append([]byte(nil), data[:basicBlock]...))
		v.lsn[n] = lsn
		data = data[basicBlock:]
	}
}

// drop lets the device show again in [off, off+n).
func (v *view) drop(off, n uint64) {
	if len(v.lsn) == 0 || n == 0 {
		return
	}
	first, last := off/basicBlock, (off+n-1)/basicBlock
	if last-first > uint64(len(v.lsn)) {
		for b := range v.lsn {
			if b >= first && b <= last {
				v.Drop(b)
				delete(v.lsn, b)
			}
		}
		return
	}
	for b := first; b <= last; b++ {
		if _, ok := v.lsn[b]; ok {
			v.Drop(b)
			delete(v.lsn, b)
		}
	}
}

// at is the newest log position laid over [off, off+n), 0 when the device shows.
func (v *view) at(off, n uint64) LSN {
	var l LSN
	if len(v.lsn) == 0 {
		return 0
	}
	for b := off / basicBlock; b*basicBlock < off+n; b++ {
		l = max(l, v.lsn[b])
	}
	return l
}

// setCRC recomputes a little-endian checksum kept within what it covers.
func setCRC(b []byte, at int) {
	clear(b[at : at+4])
	le.PutUint32(b[at:], crc32.Checksum(b, castagnoli))
}
