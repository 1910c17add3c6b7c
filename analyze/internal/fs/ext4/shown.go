package ext4

import (
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// shown is what a mapping shows that it only lacked leave to: blocks that were mapped
// and unwritten, and are marked written. The kernel puts data into unwritten extents and
// marks them when it is on the disk (ext4_convert_unwritten_extents), as a rule in a
// later transaction than the one that mapped them. Nil when anything else changed too.
func shown(old, now []run, blockSize uint64) []fs.Range {
	if !slices.Equal(places(old), places(now)) {
		return nil
	}
	var out []fs.Range
	for len(old) > 0 && len(now) > 0 { // which cover the same blocks, ascending
		o, n := &old[0], &now[0]
		from, to := max(o.logical, n.logical), min(o.logical+o.count, n.logical+n.count)
		if from < to && o.unwritten != n.unwritten {
			if n.unwritten {
				return nil // a range was zeroed
			}
			out = append(out, fs.Range{Off: from * blockSize, Len: (to - from) * blockSize})
		}
		if o.logical+o.count <= to {
			old = old[1:]
		}
		if n.logical+n.count <= to {
			now = now[1:]
		}
	}
	return fs.JoinRanges(out)
}

// places are the runs as if all were written.
func places(runs []run) []run {
	var out []run
	for _, r := range runs {
		r.unwritten = false
		if k := len(out); k > 0 && out[k-1].logical+out[k-1].count == r.logical && out[k-1].physical+out[k-1].count == r.physical {
			out[k-1].count += r.count
			continue
		}
		out = append(out, r)
	}
	return out
}
