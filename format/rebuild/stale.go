package rebuild

import (
	"fmt"

	"github.com/xentape/xentape/format"
)

// Stale is what of a disk may differ from what the tape has: the extents of gaps, as
// far as nothing has been written or read back there since.
type Stale struct{ ranges }

// NewStale is nothing.
func NewStale() Stale { return Stale{ranges{}} }

// Gap adds what the records missing in g may have changed.
func (s Stale) Gap(g *format.Gap, size uint64) {
	extents := g.Extents
	if g.Count == format.Unknown && len(extents) == 0 {
		extents = []format.Extent{{Count: size}}
	}
	size = min(size, maxDisk)
	for _, e := range extents {
		start := min(e.Start, size)
		s.add(start, min(e.Count, size-start))
	}
}

// Known takes out [start, start+n).
func (s Stale) Known(start, n uint64) { s.remove(start, n) }

// Loss says how much there is.
func (s Stale) Loss() []string {
	if s.bytes() == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d bytes may be older than this: the tape has a gap there, and they were not read again after it", s.bytes())}
}
