package files

import (
	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/format"
)

// clock turns the tape's time into wall-clock time by the last anchor seen.
type clock struct {
	have      bool
	mono, utc int64
}

func (c *clock) anchor(a *format.Anchor) {
	if a.Realtime != 0 {
		c.have, c.mono, c.utc = true, a.Time, a.Realtime
	}
}

// wall is the recording host's wall clock at a tape time.
func (c *clock) wall(t int64) Time {
	if !c.have || t == fs.EndOfTape {
		return Unknown
	}
	d := t - c.mono
	sum := c.utc + d
	if (d < 0) != (t < c.mono) || (sum < c.utc) != (d < 0) { // overflow: not a time
		return Unknown
	}
	return Time(sum)
}
