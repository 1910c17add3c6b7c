package files

import (
	"bytes"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// attributes turns differences of inodes that lived before and after into events.
func (c *classifier) attributes() {
	for i := range c.tx.Inodes {
		change := &c.tx.Inodes[i]
		if ended(change) || change.Was != (fs.ID{}) {
			c.v.forget(change.ID)
		}
		if change.OldUnknown {
			continue // nothing to compare with
		}
		if fresh(change) {
			told := c.made[change.ID] || !c.v.info.Apart && len(c.v.names.of[change.ID]) > 0
			if !told && change.New.Links > 0 && change.ID != c.v.info.Root {
				c.v.nameless[change.ID] = change
			}
			c.stamped(change)
			continue
		}
		if c.v.info.Apart && c.v.nameless[change.ID] != nil {
			continue // it is told with its birth
		}
		if change.Old.Live && change.New.Live {
			c.owner(change)
			c.size(change)
			c.xattrs(change)
			c.times(change)
		}
	}
}

func (c *classifier) delta(op Op, change *fs.InodeChange) Event {
	return c.event(op, c.v.path(change.ID), change.New)
}

func (c *classifier) owner(change *fs.InodeChange) {
	o, n := change.Old, change.New
	if o.Mode != n.Mode {
		e := c.delta(OpChmod, change)
		e.ModeOld = Mode{o.Mode, true}
		c.add(e)
	}
	if o.UID != n.UID || o.GID != n.GID {
		e := c.delta(OpChown, change)
		uid, gid := o.UID, o.GID
		e.UIDOld, e.GIDOld = &uid, &gid
		c.add(e)
	}
}

// size reports a file made shorter, or longer without content being written.
func (c *classifier) size(change *fs.InodeChange) {
	o, n := change.Old, change.New
	if n.Type != fs.TypeFile || o.Size == n.Size {
		return
	}
	if n.Size > o.Size && (c.data[change.ID] != nil || n.MTime == n.CTime && change.Content && c.v.grown(change)) {
		if c.data[change.ID] == nil {
			c.overtook(change)
		}
		return // written: contents reports it
	}
	e := c.delta(OpTruncate, change)
	size := o.Size
	e.SizeOld = &size
	c.earned(&e, change.ID)
	c.hashes(&e, change.ID)
	c.add(e)
}

// overtook tells of a file whose end has passed bytes that were behind it: ext4 sets the
// time of an append to a block in one transaction (file_update_time) and the size maybe in
// the next (ext4_da_write_end, fs/ext4/inode.c), when the bytes have been on the disk.
func (c *classifier) overtook(change *fs.InodeChange) {
	o, n, block := change.Old, change.New, c.v.info.BlockSize
	if o.Size == 0 || block == 0 || o.Size/block != (n.Size-1)/block || c.v.unsure(change.ID) {
		return
	}
	content, err := c.v.fs.Content(change.ID)
	if err != nil {
		return
	}
	tail := make([]byte, n.Size-o.Size)
	if read, _ := content.ReadAt(tail, int64(o.Size)); read < len(tail) || len(bytes.Trim(tail, "\x00")) == 0 {
		return // not there yet, or nothing but a larger size
	}
	e := c.delta(OpWrite, change)
	size := o.Size
	e.SizeOld = &size
	e.Ranges, e.Shown = []fs.Range{{Off: o.Size, Len: n.Size - o.Size}}, true
	e.Notes = append(e.Notes, "the bytes were written earlier, behind the end that the file had until this commit")
	c.data[change.ID] = &fs.DataChange{ID: change.ID, Ranges: e.Ranges} // it is told of
	c.hashes(&e, change.ID)
	c.add(e)
}

// grown reports whether a longer file has bytes where it grew. Without them it
// was only extended.
func (v *volumeState) grown(change *fs.InodeChange) bool {
	content, err := v.fs.Content(change.ID)
	if err != nil {
		return false
	}
	es := content.Extents()
	if len(es) == 0 {
		return false
	}
	last := es[len(es)-1]
	return last.Logical+last.Length > change.Old.Size
}

func (c *classifier) xattrs(change *fs.InodeChange) {
	if change.OldXattrs == nil && change.NewXattrs == nil {
		return
	}
	if c.v.info.Apart && change.Old == change.New && change.New.Links > 0 && c.v.unheard(&change.New) >= int(change.New.Links) {
		return // all its names are gone: the block that it still names is another file's by now
	}
	e := c.delta(OpSetxattr, change)
	old, now := map[string][]byte{}, map[string][]byte{}
	for _, x := range change.OldXattrs {
		old[x.Name] = x.Value
	}
	for _, x := range change.NewXattrs {
		now[x.Name] = x.Value
		if was, ok := old[x.Name]; !ok || !bytes.Equal(was, x.Value) {
			e.Xattrs = append(e.Xattrs, XattrChange{x.Name, was, x.Value})
		}
	}
	for _, x := range change.OldXattrs {
		if _, ok := now[x.Name]; !ok {
			e.Xattrs = append(e.Xattrs, XattrChange{Name: x.Name, Old: x.Value})
		}
	}
	c.add(e)
}

// times tells timestamps that were set from those that were earned. A write moves
// mtime and ctime together; utimensat(2) moves ctime and puts mtime elsewhere, or
// moves atime with both.
func (c *classifier) times(change *fs.InodeChange) {
	o, n := change.Old, change.New
	if o.CTime == n.CTime || o.MTime == n.MTime && o.ATime == n.ATime {
		return
	}
	set := n.MTime != o.MTime && n.MTime != n.CTime
	switch {
	case n.MTime == o.MTime:
		// Reading moves atime forward to now; only a call moves it back.
		set = n.ATime < o.ATime
	case set && n.MTime > o.MTime && n.MTime < n.CTime && n.MTime >= o.CTime:
		// Left behind by ctime: a write followed by a chmod, or such. Only a time
		// that lies before what was known already, or after the change, was put there.
		set = false
	}
	if set {
		c.stampedWith(change)
		c.add(c.utime(change))
		return
	}
	if n.MTime != o.MTime {
		delete(c.v.stamped, n.ID)
	}
	if n.Type == fs.TypeFile && n.MTime != o.MTime && c.data[change.ID] == nil && !change.Content && !c.v.arrived(n) {
		w := awaited{attr: n, path: c.v.names.path(change.ID), stamp: c.tx.Last, tx: c.tx.Number}
		if n.MTime == n.CTime && n.ATime == n.CTime && o.ATime != n.ATime && o.Size == n.Size {
			e := c.utime(change)
			c.interval(&e)
			w.touch = &e
			c.v.touches = append(c.v.touches, turn{change.ID, w.stamp.Seq, w.stamp.Time})
		}
		c.v.awaited[change.ID] = w
	}
	if n.Type == fs.TypeDir && n.MTime != o.MTime && !c.named[change.ID] {
		c.v.a.findings.transient(c.v, change, c.tx)
	}
}

func (c *classifier) utime(change *fs.InodeChange) Event {
	e := c.delta(OpUtime, change)
	old := Time(change.Old.MTime)
	e.MTimeOld = &old
	return e
}

// stamp is a modification time that was set: it dates no write. What the file got
// before was written at the time it had then or later.
type stamp struct {
	mtime        int64
	after, until Time
}

func (c *classifier) stampedWith(change *fs.InodeChange) {
	o, n := change.Old, change.New
	s := stamp{mtime: n.MTime, after: Time(o.MTime), until: Time(n.CTime)}
	if was, ok := c.v.stamped[n.ID]; ok && was.mtime == o.MTime {
		s.after = was.after
	}
	c.v.stamped[n.ID] = s
}

// arrived reports whether the content that moved a file's mtime is there already:
// on xfs it can be, before the log says that the inode changed. It was then
// recorded after the guest dated it.
func (v *volumeState) arrived(a fs.Attr) bool {
	at, ok := v.wrote[a.ID]
	return ok && at.Known() && at >= Time(a.MTime-tick)
}

// stamped: a file whose modification time lies before its birth in the very
// transaction that created it was dated by hand.
func (c *classifier) stamped(change *fs.InodeChange) {
	n := change.New
	if n.Type != fs.TypeFile || n.BTime == fs.NoTime || n.MTime >= n.BTime-max(tick, c.v.info.Grain) || len(c.v.names.of[n.ID]) == 0 {
		return
	}
	e := c.delta(OpUtime, change)
	e.Notes = append(e.Notes, "set in the transaction that created the file")
	c.add(e)
}

// forget drops what was kept of an inode whose life is over.
func (v *volumeState) forget(id fs.ID) {
	delete(v.awaited, id)
	delete(v.known, id)
	delete(v.nameless, id)
	delete(v.held, id)
	delete(v.spent, id)
	delete(v.wrote, id)
	delete(v.met, id)
	delete(v.stamped, id)
}
