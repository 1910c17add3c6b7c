package ntfs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Volume reads one NTFS volume. Its only state is where the MFT is.
type Volume struct {
	r    io.ReaderAt
	boot *Boot
	mft  []run  // of the MFT's data
	size uint64 // bytes of the MFT
	// past, while states from before a batch are read, says whether a reference was good then.
	past func(reference) (good, known bool)
}

// OpenVolume reads the boot sector and finds the MFT.
func OpenVolume(r io.ReaderAt) (*Volume, error) {
	b := make([]byte, bootSize)
	if n, err := r.ReadAt(b, 0); n < len(b) || err != nil && err != io.EOF {
		if err == nil || err == io.EOF {
			return nil, ErrNotNTFS
		}
		return nil, fmt.Errorf("ntfs boot sector: %w", err)
	}
	boot, err := ParseBoot(b)
	if err != nil {
		return nil, err
	}
	v := &Volume{r: r, boot: boot}
	v.bootstrap()
	return v, v.locate()
}

// maxMFTParts bounds how often the MFT makes more of itself readable.
const maxMFTParts = 64

// bootstrap assumes that the MFT begins with one cluster run of its own, enough
// to read the record that says where the rest is.
func (v *Volume) bootstrap() {
	n := max(16*uint64(v.boot.RecordSize)/v.boot.Cluster, 1)
	v.mft = []run{{lcn: v.boot.MFT / v.boot.Cluster, count: n}}
	v.size = n * v.boot.Cluster
}

// locate reads where the MFT is from its own first record. A fragmented MFT may list
// its runs in records that only runs listed before make readable. Where part of the list
// cannot be read, and it was longer before, what was known before stays.
func (v *Volume) locate() error {
	had, size := v.mft, v.size
	var err error
	for k := 0; k < maxMFTParts; k++ {
		var f *file
		f, err = v.file(0)
		if f == nil || f.stream("") == nil {
			return fmt.Errorf("mft: %w", cmp.Or(err, fs.ErrCorrupt))
		}
		s := f.stream("")
		if s.resident || len(s.runs) == 0 {
			return fmt.Errorf("mft: its record has no data: %w", fs.ErrCorrupt)
		}
		same := slices.Equal(v.mft, s.runs)
		// It is nowhere sparse, and what was never written is no record.
		v.mft, v.size = s.runs, min(s.size, s.valid, mapped(s.runs)*v.boot.Cluster, v.boot.Size)
		if same {
			break
		}
	}
	if err != nil && v.size < size {
		v.mft, v.size = had, size
	}
	return err
}

// clusters is how many clusters the volume has.
func (v *Volume) clusters() uint64 { return v.boot.Size / v.boot.Cluster }

// readRuns fills p from byte off of an attribute mapped by runs. Sparse and
// unmapped parts are zeros.
func (v *Volume) readRuns(runs []run, p []byte, off uint64) error {
	clear(p)
	c := v.boot.Cluster
	for _, r := range runs {
		lo, hi := r.vcn*c, (r.vcn+r.count)*c
		a, b := max(lo, off), min(hi, off+uint64(len(p)))
		if a >= b || r.sparse {
			continue
		}
		q := p[a-off : b-off]
		if n, err := v.r.ReadAt(q, int64(r.lcn*c+a-lo)); err != nil && (err != io.EOF || n < len(q)) {
			return fmt.Errorf("cluster %d: %w", r.lcn, err)
		}
	}
	return nil
}

// outside hands over the parts of [off, off+n) of the volume that are not the MFT's.
func (v *Volume) outside(off, n uint64, yield func(off, n uint64)) {
	var in []fs.Range
	for _, r := range v.mft {
		a, b := max(off, r.lcn*v.boot.Cluster), min(off+n, (r.lcn+r.count)*v.boot.Cluster)
		if a < b && !r.sparse {
			in = append(in, fs.Range{Off: a, Len: b - a})
		}
	}
	end := off + n
	for _, r := range fs.JoinRanges(in) {
		if off < r.Off {
			yield(off, r.Off-off)
		}
		off = r.Off + r.Len
	}
	if off < end {
		yield(off, end-off)
	}
}

// records is how many file records the MFT has.
func (v *Volume) records() uint64 { return v.size / uint64(v.boot.RecordSize) }

// raw reads the bytes of file record num, fixups in place.
func (v *Volume) raw(num uint64) ([]byte, error) {
	if num >= v.records() {
		return nil, fmt.Errorf("file record %d is beyond the mft: %w", num, fs.ErrNotFound)
	}
	b := make([]byte, v.boot.RecordSize)
	off := num * uint64(v.boot.RecordSize)
	// The common case by search: the runs are ascending in vcn.
	k, _ := slices.BinarySearchFunc(v.mft, off/v.boot.Cluster, func(r run, vcn uint64) int {
		switch {
		case r.vcn+r.count <= vcn:
			return -1
		case r.vcn > vcn:
			return 1
		}
		return 0
	})
	if k >= len(v.mft) {
		return nil, fmt.Errorf("file record %d is not mapped: %w", num, fs.ErrCorrupt)
	}
	if err := v.readRuns(v.mft[k:min(k+2, len(v.mft))], b, off); err != nil {
		return nil, fmt.Errorf("file record %d: %w", num, err)
	}
	return b, nil
}

// record reads and decodes file record num.
func (v *Volume) record(num uint64) (*record, error) {
	b, err := v.raw(num)
	if err != nil {
		return nil, err
	}
	return parseRecord(num, b)
}

// overlapping hands over the numbers of the file records that have bytes in
// [off, off+n) of the volume.
func (v *Volume) overlapping(off, n uint64, yield func(num uint64)) {
	c, rs := v.boot.Cluster, uint64(v.boot.RecordSize)
	last := ^uint64(0)
	for _, r := range v.mft {
		if r.sparse {
			continue
		}
		a, b := max(off, r.lcn*c), min(off+n, (r.lcn+r.count)*c)
		if a >= b {
			continue
		}
		base := r.vcn*c - r.lcn*c // modulo 2^64: the distance from volume to MFT
		for num := (a + base) / rs; num <= (b-1+base)/rs && num < v.records(); num++ {
			if num != last {
				yield(num)
			}
			last = num
		}
	}
}

// problemKind tells bytes that were not captured from bytes that are wrong.
func problemKind(err error) fs.ProblemKind {
	switch {
	case fs.IsUnknown(err), errors.Is(err, errGivenBack):
		return fs.ProblemUnknown
	case errors.Is(err, fs.ErrUnsupported):
		return fs.ProblemUnsupported
	}
	return fs.ProblemCorrupt
}
