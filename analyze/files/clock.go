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

// compareClocks notes by how much the recording host's clock was ahead of the guest's at
// most: nothing reaches the disk before it was done.
func (v *volumeState) compareClocks(tx *fs.Tx) {
	wall := v.a.clock.wall(tx.Last.Time)
	if !wall.Known() {
		return
	}
	for i := range tx.Inodes {
		if t := tx.Inodes[i].New.CTime; tx.Inodes[i].New.Live && t > 0 && (!v.compared || int64(wall)-t < v.behind) {
			v.behind, v.compared = int64(wall)-t, true
		}
	}
}

// guestTime is the guest's clock at a tape time, or somewhat before it; the end of time
// where nothing is known of it.
func (v *volumeState) guestTime(t int64) int64 {
	wall := v.a.clock.wall(t)
	if !v.compared || !wall.Known() {
		return fs.EndOfTape
	}
	return int64(wall) - v.behind
}
