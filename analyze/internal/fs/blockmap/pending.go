package blockmap

import (
	"sort"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// maxPending bounds how many separate runs without an owner are remembered.
const maxPending = 1 << 20

// Run is a written stretch of the volume whose owner is not yet known: file data
// reaches the disk before the metadata that says whose it is.
type Run struct {
	Off, Len    uint64
	First, Last fs.Stamp
}

// Pending remembers such stretches. The zero Pending is ready.
type Pending struct {
	runs []Run // sorted by Off, disjoint
	lost bool
}

// Lost reports whether stretches were forgotten because there were too many.
func (p *Pending) Lost() bool { return p.lost }

// Len is how many separate runs are remembered.
func (p *Pending) Len() int { return len(p.runs) }

// Add remembers a write of [off, off+n).
func (p *Pending) Add(off, n uint64, at fs.Stamp) {
	if n == 0 || off+n < off {
		return
	}
	r := Run{Off: off, Len: n, First: at, Last: at}
	if k := len(p.runs); k > 0 && p.runs[k-1].Off+p.runs[k-1].Len <= off {
		// The common case: writes ascend.
		if l := &p.runs[k-1]; l.Off+l.Len == off {
			l.Len += n
			l.Last = at
			return
		}
		p.push(r, k)
		return
	}
	i := sort.Search(len(p.runs), func(i int) bool { return p.runs[i].Off+p.runs[i].Len >= off })
	j := i
	for ; j < len(p.runs) && p.runs[j].Off <= off+n; j++ {
		q := p.runs[j]
		end := max(r.Off+r.Len, q.Off+q.Len)
		r.Off = min(r.Off, q.Off)
		r.Len = end - r.Off
		if q.First.Seq < r.First.Seq {
			r.First = q.First
		}
		if q.Last.Seq > r.Last.Seq {
			r.Last = q.Last
		}
	}
	if j > i {
		p.runs[i] = r
		p.runs = append(p.runs[:i+1], p.runs[j:]...)
		return
	}
	p.push(r, i)
}

func (p *Pending) push(r Run, at int) {
	if len(p.runs) >= maxPending {
		p.runs, p.lost, at = p.runs[:0], true, 0
	}
	p.runs = append(p.runs, Run{})
	copy(p.runs[at+1:], p.runs[at:])
	p.runs[at] = r
}

// Take removes and returns what was written inside [off, off+n).
func (p *Pending) Take(off, n uint64) []Run {
	if n == 0 || off+n < off || len(p.runs) == 0 {
		return nil
	}
	i := sort.Search(len(p.runs), func(i int) bool { return p.runs[i].Off+p.runs[i].Len > off })
	var out, keep []Run
	j := i
	for ; j < len(p.runs) && p.runs[j].Off < off+n; j++ {
		q := p.runs[j]
		a, b := max(off, q.Off), min(off+n, q.Off+q.Len)
		out = append(out, Run{Off: a, Len: b - a, First: q.First, Last: q.Last})
		if q.Off < a {
			keep = append(keep, Run{Off: q.Off, Len: a - q.Off, First: q.First, Last: q.Last})
		}
		if b < q.Off+q.Len {
			keep = append(keep, Run{Off: b, Len: q.Off + q.Len - b, First: q.First, Last: q.Last})
		}
	}
	if j > i {
		p.runs = append(p.runs[:i], append(keep, p.runs[j:]...)...)
	}
	return out
}

// Peek returns what was written inside [off, off+n) and keeps it.
func (p *Pending) Peek(off, n uint64) []Run {
	if n == 0 || off+n < off {
		return nil
	}
	i := sort.Search(len(p.runs), func(i int) bool { return p.runs[i].Off+p.runs[i].Len > off })
	var out []Run
	for ; i < len(p.runs) && p.runs[i].Off < off+n; i++ {
		q := p.runs[i]
		a, b := max(off, q.Off), min(off+n, q.Off+q.Len)
		out = append(out, Run{Off: a, Len: b - a, First: q.First, Last: q.Last})
	}
	return out
}

// Forget drops what was last written before record seq.
func (p *Pending) Forget(seq uint64) {
	out := p.runs[:0]
	for _, r := range p.runs {
		if r.Last.Seq >= seq {
			out = append(out, r)
		}
	}
	p.runs = out
}
