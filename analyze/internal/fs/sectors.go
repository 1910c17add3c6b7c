package fs

import "io"

// SectorSize is the least that a disk writes at once, in bytes.
const SectorSize = 512

// EachSector calls yield for each sector of a write from off on, the last one maybe cut
// short, with the bytes that dev holds until it is applied: nil where they are not known.
// Both are good until yield returns.
func EachSector(dev io.ReaderAt, w *Write, off uint64, yield func(off uint64, old, now []byte)) {
	const piece = 4096 // what is not known of one says nothing of the next
	var buf [piece]byte
	for at, end := max(w.Off, off), w.Off+w.Len; at < end; {
		n := min(piece-at%piece, end-at)
		known, _ := dev.ReadAt(buf[:n], int64(at))
		for k := uint64(0); k < n; {
			m := min(SectorSize-(at+k)%SectorSize, n-k)
			old := buf[k : k+m]
			if k+m > uint64(known) {
				old = nil
			}
			yield(at+k, old, w.Data[at+k-w.Off:][:m])
			k += m
		}
		at += n
	}
}
