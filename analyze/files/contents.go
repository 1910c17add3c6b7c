package files

import (
	"slices"
	"unicode/utf8"

	"github.com/xentape/xentape/analyze/internal/fs"
)

func isText(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	for _, c := range b {
		if c == 0 {
			return false
		}
	}
	return true
}

// contents turns written ranges into write events.
func (c *classifier) contents() {
	for i := range c.tx.Data {
		d := &c.tx.Data[i]
		attr := c.attr(d.ID, fs.TypeFile)
		if c.late != nil {
			attr = c.late.then(attr)
		}
		if !attr.Live || attr.Type == fs.TypeDir || attr.Type == fs.TypeSymlink {
			continue // a block of entries that was taken for data before its inode came, a long target
		}
		_, open := c.v.orphans[d.ID]
		if c.v.unsure(d.ID) && !open && c.late == nil {
			c.hold(d)
			continue
		}
		if d.Ranges = within(c.written(d, attr), attr.Size); len(d.Ranges) == 0 {
			continue
		}
		path := c.v.names.path(d.ID)
		switch {
		case c.late != nil:
			path = c.late.path
		case open:
			path = c.v.orphans[d.ID]
		}
		e := c.event(OpWrite, path, attr)
		e.Ranges = d.Ranges
		if d.Same {
			e.Notes = append(e.Notes, "the bytes are those that were there: written again, or moved by the filesystem when a write was due")
		}
		if d.First.Seq != 0 {
			e.FirstRecord = min(e.FirstRecord, d.First.Seq)
			e.LastRecord = max(e.LastRecord, d.Last.Seq)
		}
		if change := c.inodes[d.ID]; change != nil && change.Old.Live && !fresh(change) && change.Old.Size != attr.Size {
			size := change.Old.Size
			e.SizeOld = &size
		}
		c.earned(&e, d.ID)
		c.hashes(&e, d.ID)
		c.add(e)
	}
	if c.v.a.o.Hash {
		c.silent()
	}
	for i := range c.out {
		if c.out[i].Op == OpWrite {
			c.interval(&c.out[i]) // while the awaited time is known
		}
	}
	for i := range c.tx.Data {
		d := &c.tx.Data[i]
		if w, ok := c.v.awaited[d.ID]; ok {
			c.v.met[d.ID] = met{w.attr.MTime, d.Last.Time}
		}
		delete(c.v.awaited, d.ID)
		c.v.wrote[d.ID] = c.v.a.clock.wall(d.Last.Time)
	}
}

// unsure reports whether it is not known which file an inode is: it has no name, or none
// that it bears out.
func (v *volumeState) unsure(id fs.ID) bool {
	ps := v.names.of[id]
	if !v.info.Apart || len(ps) == 0 {
		return len(ps) == 0
	}
	_, adrift := v.names.adrift(id)
	return adrift || v.nameless[id] != nil || len(v.names.sure(id)) == 0
}

// path is that of an inode, the one it had while a name that came waits.
func (v *volumeState) path(id fs.ID) string {
	if gs := v.moving[id]; len(gs) > 0 && len(v.names.sure(id)) == 0 {
		return gs[len(gs)-1].path
	}
	return v.names.path(id)
}

// earned gives a change of content the modification time from before, and says whether
// the one of now is not of that change: content reaches the disk at most WritebackLag
// after the write moved the time, and this came after a transaction later than that.
func (c *classifier) earned(e *Event, id fs.ID) {
	change := c.inodes[id]
	if change == nil || !change.Old.Live || fresh(change) || change.Old.MTime == fs.NoTime {
		return
	}
	e.MTimeOld = new(Time(change.Old.MTime))
	_, announced := c.v.awaited[id]
	e.unearned = change.New.CTime != change.Old.CTime && !announced && c.v.lastOK && c.v.last-change.New.MTime > 2*fs.WritebackLag
}

// hold keeps content of a file that has no name yet. One that never had any
// (O_TMPFILE) shows when it is linked.
func (c *classifier) hold(d *fs.DataChange) {
	h := c.v.held[d.ID]
	if h == nil {
		x := *d
		c.v.held[d.ID] = &x
		return
	}
	h.Ranges, h.Last = fs.JoinRanges(append(h.Ranges, d.Ranges...)), d.Last
}

// within leaves out what lies beyond the end of a file: the rest of its last block,
// and blocks that were only reserved.
func within(rs []fs.Range, size uint64) []fs.Range {
	out := rs[:0:0]
	for _, r := range rs {
		if r.Off < size {
			r.Len = min(r.Len, size-r.Off)
			out = append(out, r)
		}
	}
	return out
}

// written leaves out the block that truncation itself rewrites: setting a size
// zeroes the rest of the last block. If its content below the size did change,
// the hashes tell.
func (c *classifier) written(d *fs.DataChange, a fs.Attr) []fs.Range {
	change := c.inodes[d.ID]
	if change == nil || !change.Old.Live || fresh(change) || change.Old.Size == a.Size || c.v.info.BlockSize == 0 {
		return d.Ranges
	}
	edge := min(change.Old.Size, a.Size)
	block := edge / c.v.info.BlockSize * c.v.info.BlockSize
	if edge == block || a.Size > change.Old.Size && !c.truncated(d.ID) {
		return d.Ranges
	}
	var out []fs.Range
	for _, r := range d.Ranges {
		if r.Off >= block && r.Off+r.Len <= min(a.Size, block+c.v.info.BlockSize) {
			continue
		}
		out = append(out, r)
	}
	return out
}

// truncated reports whether this transaction has a truncate of the file.
func (c *classifier) truncated(id fs.ID) bool {
	return slices.ContainsFunc(c.out, func(e Event) bool { return e.Op == OpTruncate && e.id == id })
}

// silent finds files whose mapping changed, though no bytes were written and the
// size stayed, and which read differently: a hole punched, a range zeroed, what was
// written before shown by blocks that were marked unwritten, or something else.
func (c *classifier) silent() {
	for i := range c.tx.Inodes {
		change := &c.tx.Inodes[i]
		if !change.Content || c.data[change.ID] != nil || !change.Old.Live || fresh(change) || ended(change) ||
			change.Old.Size != change.New.Size || change.New.Type != fs.TypeFile || len(c.v.names.of[change.ID]) == 0 {
			continue
		}
		b := c.v.before[change.ID]
		if b == nil || !b.read {
			continue
		}
		if now := c.v.now(change.ID, change.New); !now.read || now.same(b) {
			continue
		}
		e := c.event(OpWrite, c.v.names.path(change.ID), change.New)
		switch {
		case len(change.Zeroed) > 0:
			e.Ranges = change.Zeroed
			e.Notes = append(e.Notes, "a hole was punched or a range zeroed: no bytes were written")
		case len(change.Shown) > 0:
			e.Ranges, e.Shown = change.Shown, true
			e.Notes = append(e.Notes, "the bytes were written earlier, to blocks that read as zeros until this commit")
		default:
			e.Notes = append(e.Notes, "it reads differently, though no write to its blocks was seen")
		}
		c.hashes(&e, change.ID)
		c.add(e)
	}
}

// hashes compares the content now with what it was.
func (c *classifier) hashes(e *Event, id fs.ID) {
	v := c.v
	if !v.a.o.Hash {
		return
	}
	old := v.before[id]
	attr, err := v.fs.Stat(id)
	if err != nil || attr.Type != fs.TypeFile {
		return
	}
	if attr.Generation != e.Generation {
		return // its content is gone, the number is another file's
	}
	now := v.now(id, attr)
	e.is = now
	if v.a.o.Blocks && attr.Size > 0 {
		e.Blocks = v.blocks(id, e.Ranges, attr.Size)
	}
	switch {
	case len(e.Ranges) == 0:
	case now.read && written(e) == attr.Size:
		e.part = now
	default:
		e.part = v.writtenContent(id, e.Ranges)
	}
	switch {
	case now.unknown:
		e.Notes = append(e.Notes, "content partly never captured: not hashed")
	case !now.read:
		e.Notes = append(e.Notes, "larger than the hash limit: not hashed")
	}
	if old == nil || old.generation != attr.Generation || fresh(c.inodes[id]) {
		return
	}
	e.was = old
	if old.unknown {
		e.Notes = append(e.Notes, "old content unknown")
	}
	v.before[id] = now
}
