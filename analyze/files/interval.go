package files

import (
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// interval says when the operation happened, by the guest's clock, and on what
// that rests. The inode's own times are within a clock tick of the system call,
// but a guest can set some of them and a later operation replaces them; they are
// believed only between the previous commit and this one.
func (c *classifier) interval(e *Event) {
	lo, hi := c.bounds()
	if e.since != 0 && (lo == 0 || e.since < lo) {
		lo = e.since
	}
	if e.until != 0 && e.until.Known() {
		hi = int64(e.until) + clockSlack
	}
	change := c.inodes[e.id]
	if e.until != 0 {
		change = nil // of the inode nothing is known
	}
	t, basis := Unknown, ""
	switch e.Op {
	case OpCreate, OpMkdir, OpSymlink:
		if change != nil && change.New.BTime != fs.NoTime {
			t, basis = Time(change.New.BTime), BasisBirth
		} else if change != nil {
			t, basis = Time(change.New.CTime), BasisChange
		}
	case OpWrite:
		if c.late != nil {
			lo = max(lo, int64(min(e.MTime, e.CTime))) // what was written before then was dated
			break
		}
		t, basis = e.MTime, BasisModify
		if w, ok := c.v.awaited[e.id]; ok {
			t = Time(w.attr.MTime)
		} else if s, ok := c.v.stamped[e.id]; ok && s.mtime == int64(e.MTime) {
			e.TimeLower, e.TimeUpper, e.TimeBasis = s.after, s.until+Time(max(tick, c.v.info.Grain)), BasisChange
			return
		}
		if e.MTime != e.CTime && c.forged(e, Time(lo)) {
			if c.beforeChange(e, Time(lo)) {
				return
			}
			t, basis = e.CTime, BasisChange
		}
		lo = 0 // content may reach the disk long after the commit that dated it
	case OpDelete, OpRmdir, OpUnlink:
		if change != nil && reused(change) {
			// The inode's times are another file's, which began after this one ended, unless
			// the number is a place and the file came there from another.
			if born := change.New.BTime; !c.v.info.Places && born != fs.NoTime && born >= lo && (hi == 0 || born <= hi) {
				e.by = Time(born)
				if hi == 0 || born+c.v.grain(Time(born)) < hi {
					hi = born + c.v.grain(Time(born))
				}
			}
		} else if change != nil && change.New.CTime != 0 && change.New.CTime != fs.NoTime && !c.counted(e, change) {
			t, basis = Time(change.New.CTime), BasisChange
		}
	default:
		if change != nil && change.New.Live {
			t, basis = Time(change.New.CTime), BasisChange
		}
		if c.v.info.Apart && change != nil && change.Old.Live && otherwise(&change.Old, &change.New) {
			switch e.Op {
			case OpRename, OpLink:
				t = Unknown // of what else changed
			}
		}
		if e.Op == OpRename && change != nil && change.Old.Live && change.Old.CTime == change.New.CTime {
			// Exchanging two files moves no time of theirs on XFS (xfs_cross_rename,
			// fs/xfs/xfs_inode.c): it came after the time they have.
			lo, t = max(lo, change.New.CTime), Unknown
		}
	}
	if c.names[e.id] > 1 && slices.Contains([]Op{OpLink, OpRename, OpUnlink, OpDelete}, e.Op) {
		// The change time is of the last of them, and which that is the disk does not tell:
		// where each moves it, none is later.
		if end := int64(t) + c.v.grain(t); t.Known() && c.movesChange() && int64(t) >= lo-tick && (hi == 0 || end < hi) {
			hi = end
		}
		t = Unknown
	}
	tick := c.v.grain(t)
	if t.Known() && basis != "" && int64(t) >= lo-tick && (hi == 0 || int64(t) <= hi+tick) {
		e.TimeLower, e.TimeUpper, e.TimeBasis = t, t+Time(c.v.grain(t)), basis
		return
	}
	e.TimeBasis = string(fs.BasisWrite)
	if c.tx.Basis != fs.BasisWrite {
		e.TimeBasis = BasisCommit
	}
	e.TimeLower, e.TimeUpper = Unknown, Unknown
	if lo != 0 {
		e.TimeLower = Time(lo)
	}
	if hi != 0 {
		e.TimeUpper = Time(hi)
	}
}

// movesChange: whatever gives or takes a name sets the change time of the inode, in the
// same commit, and nothing else can set it. Exchanging two files on XFS does not; Windows
// lets programs set it, or keep it as it is ([MS-FSCC] 2.4.7).
func (c *classifier) movesChange() bool {
	return c.v.info.Journaled && c.v.info.Type != "xfs"
}

// grain is to what a timestamp may have been cut. exFAT keeps 10 ms apart from the two
// seconds of before, and not every driver fills those in.
func (v *volumeState) grain(t Time) int64 {
	if v.info.Type == "exfat" && t.Known() && int64(t)%1e9 == 0 {
		return max(v.info.Grain, 2e9)
	}
	return max(tick, v.info.Grain)
}

// counted: the inode still counts the name that went. Its change time is of something else.
func (c *classifier) counted(e *Event, change *fs.InodeChange) bool {
	return c.v.info.Apart && e.Op == OpUnlink && change.Old.Live && change.New.Live && change.New.Links >= change.Old.Links
}

// reused: the inode's number is another file's now.
func reused(change *fs.InodeChange) bool {
	return change.New.Live && change.New.Generation != change.Old.Generation
}

// beforeChange dates a write whose modification time was set to something else
// afterwards: that set the change time too, so the write lies between the inode's
// birth, or what bounds the transaction where inodes keep none, and the change time. It
// reports whether there are such times.
func (c *classifier) beforeChange(e *Event, lo Time) bool {
	born := e.BTime
	if !born.Known() && lo != 0 {
		born = lo
	}
	if !e.CTime.Known() || !born.Known() || e.CTime < born {
		return false
	}
	e.TimeLower, e.TimeUpper, e.TimeBasis = born, e.CTime+Time(max(tick, c.v.info.Grain)), BasisChange
	if change := c.inodes[e.id]; c.first[e.id] && change != nil {
		e.TimeLower = max(e.TimeLower, Time(change.Old.CTime)) // the inode as it was when the content came
	}
	return true
}

// forged: the inode says it was modified before it existed, or its mtime is not
// what this transaction's change time allows. Where inodes keep no birth, one that this
// transaction made, or moved the mtime of, was not modified before what came before.
func (c *classifier) forged(e *Event, lo Time) bool {
	if e.BTime.Known() && e.MTime < e.BTime-Time(c.v.info.Grain) || e.MTime > e.CTime {
		return true
	}
	if c.v.info.Apart && lo != 0 && e.MTime < lo-Time(fs.WritebackLag) {
		return true // bytes do not wait so long
	}
	change := c.inodes[e.id]
	switch {
	case e.BTime.Known() || change == nil || change.OldUnknown:
		return false
	case fresh(change):
		return e.MTime < lo-Time(max(tick, c.v.info.Grain))
	default:
		return change.Old.Live && change.Old.MTime != change.New.MTime && change.New.MTime < change.Old.MTime
	}
}

// bounds are the guest times between which what this transaction shows was done; 0
// unknown.
//
// Only what commits all that was done until then bounds what comes after it (marksTime).
// The commit before is no lower bound: what happens while it is being written is
// already of the next (jbd2 switches to a new transaction first, fs/jbd2/commit.c).
// The one before that is. Where changes wait for other reasons, the file system says
// how long.
func (c *classifier) bounds() (lo, hi int64) {
	switch lag := c.v.info.Lag; {
	case !c.v.lastOK:
	case lag > 0:
		lo = c.v.last - lag
	default:
		lo = c.v.previous
	}
	if c.tx.Time != fs.NoTime {
		return lo, c.tx.Time
	}
	if w := c.v.a.clock.wall(c.tx.Last.Time); w.Known() {
		if lo != 0 {
			lo -= clockSlack
		}
		return lo, int64(w) + clockSlack
	}
	return lo, 0
}

// clockSlack is how far the recording host's clock may be from the guest's, ns.
const clockSlack = int64(1e9)
