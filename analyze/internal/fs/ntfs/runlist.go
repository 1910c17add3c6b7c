package ntfs

import (
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// run is a stretch of an attribute, in clusters.
type run struct {
	vcn, lcn, count uint64
	sparse          bool
}

// maxRuns bounds the runs of one attribute.
const maxRuns = 1 << 20

// decodeRuns appends the runs of one mapping pairs array whose first is at vcn.
// Each pair is a byte with the widths of a length and of a signed distance from
// the previous start. clusters is how many the volume has.
func decodeRuns(out []run, b []byte, vcn, clusters uint64) ([]run, error) {
	lcn := int64(0)
	for len(b) > 0 && b[0] != 0 {
		ln, on := int(b[0]&15), int(b[0]>>4)
		if ln == 0 || ln > 8 || on > 8 || 1+ln+on > len(b) {
			return out, fmt.Errorf("mapping pair %#02x: %w", b[0], fs.ErrCorrupt)
		}
		n := signed(b[1 : 1+ln])
		if n <= 0 || uint64(n) > 1<<50 || vcn > 1<<50 {
			return out, fmt.Errorf("run of %d clusters: %w", n, fs.ErrCorrupt)
		}
		r := run{vcn: vcn, count: uint64(n), sparse: on == 0}
		if on > 0 {
			lcn += signed(b[1+ln : 1+ln+on])
			if lcn < 0 || uint64(lcn) >= clusters || r.count > clusters-uint64(lcn) {
				return out, fmt.Errorf("run of %d clusters at %d is beyond the volume: %w", n, lcn, fs.ErrCorrupt)
			}
			r.lcn = uint64(lcn)
		}
		if len(out) >= maxRuns {
			return out, fmt.Errorf("more than %d runs: %w", maxRuns, fs.ErrCorrupt)
		}
		out = append(out, r)
		vcn += r.count
		b = b[1+ln+on:]
	}
	return out, nil
}

// mapped is how many clusters the runs map one after the other from the first.
func mapped(runs []run) uint64 {
	n := uint64(0)
	for _, r := range runs {
		if r.sparse || r.vcn != n {
			break
		}
		n += r.count
	}
	return n
}

func signed(b []byte) int64 {
	v := int64(0)
	for k := len(b) - 1; k >= 0; k-- {
		v = v<<8 | int64(b[k])
	}
	shift := 64 - 8*len(b)
	return v << shift >> shift
}
