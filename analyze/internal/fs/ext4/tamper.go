package ext4

import (
	"fmt"
	"strings"
	"time"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// tampered reports metadata that changed in place though the journal did not say
// so: e2fsck or debugfs on an unmounted volume, or someone writing to the raw
// device under a mounted one.
func (f *FS) tampered(s fs.Sink) {
	blocks := f.batched.blocks
	tx := f.flushBatch(s)
	if tx == nil {
		return
	}
	quiet := len(tx.Inodes) == 0 && len(tx.Added) == 0 && len(tx.Removed) == 0
	for _, b := range blocks {
		c, _ := f.claims.get(b)
		if quiet && (c.kind == kindTable || c.kind == kindFree) {
			continue // lazy initialisation zeroes inode tables in place
		}
		state := "while not mounted"
		if f.mounted() {
			state = "while mounted"
		}
		p := fs.Problem{Kind: fs.ProblemTamper, At: tx.Last, Off: b * f.blockSize, Len: f.blockSize,
			Text: fmt.Sprintf("block %d (%v) written in place %s with content no transaction committed", b, c.kind, state)}
		switch c.kind {
		case kindDir, kindNode, kindXattr:
			p.ID = fs.ID{Num: uint64(c.owner)}
			p.Text += altered(names(tx, p.ID))
		case kindTable:
			changes := f.slots(tx, b)
			if len(changes) == 1 {
				p.ID = changes[0].ID
			}
			p.Text += altered(described(changes))
		}
		s.Problem(p)
	}
}

// maxAltered bounds what is told of one block.
const maxAltered = 8

// altered joins what a block says otherwise than before.
func altered(what []string) string {
	if len(what) == 0 {
		return ""
	}
	more := ""
	if n := len(what) - maxAltered; n > 0 {
		what, more = what[:maxAltered], fmt.Sprintf("; and %d more", n)
	}
	return ": " + strings.Join(what, "; ") + more
}

// names lists what came to and went from a directory.
func names(tx *fs.Tx, dir fs.ID) []string {
	var out []string
	for _, d := range tx.Removed {
		if d.Parent == dir {
			out = append(out, fmt.Sprintf("%q went", d.Name))
		}
	}
	for _, d := range tx.Added {
		if d.Parent == dir {
			out = append(out, fmt.Sprintf("%q came", d.Name))
		}
	}
	return out
}

// slots are the changed inodes whose slots are in a block.
func (f *FS) slots(tx *fs.Tx, b uint64) []fs.InodeChange {
	var out []fs.InodeChange
	for _, c := range tx.Inodes {
		if off, err := f.now.offset(uint32(c.ID.Num)); err == nil && off/f.blockSize == b {
			out = append(out, c)
		}
	}
	return out
}

func described(changes []fs.InodeChange) []string {
	var out []string
	for i := range changes {
		c := &changes[i]
		out = append(out, fmt.Sprintf("inode %d %s", c.ID.Num, strings.Join(fields(c), ", ")))
	}
	return out
}

// fields says how an inode differs.
func fields(c *fs.InodeChange) []string {
	o, n := &c.Old, &c.New
	switch {
	case o.Live && !n.Live:
		return []string{"was freed"}
	case !o.Live:
		return []string{"was made"}
	}
	var out []string
	add := func(differ bool, format string, args ...any) {
		if differ {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	add(o.Mode != n.Mode, "mode %04o to %04o", o.Mode, n.Mode)
	add(o.UID != n.UID, "uid %d to %d", o.UID, n.UID)
	add(o.GID != n.GID, "gid %d to %d", o.GID, n.GID)
	add(o.Links != n.Links, "links %d to %d", o.Links, n.Links)
	add(o.Size != n.Size, "size %d to %d", o.Size, n.Size)
	add(o.Generation != n.Generation, "generation %d to %d", o.Generation, n.Generation)
	for _, t := range []struct {
		name    string
		was, is int64
	}{{"atime", o.ATime, n.ATime}, {"mtime", o.MTime, n.MTime}, {"ctime", o.CTime, n.CTime}, {"crtime", o.BTime, n.BTime}} {
		add(t.was != t.is && t.was != fs.NoTime && t.is != fs.NoTime, "%s %s to %s", t.name, stamp(t.was), stamp(t.is))
	}
	add(c.Content, "blocks")
	if len(out) == 0 {
		out = append(out, "otherwise")
	}
	return out
}

func stamp(t int64) string { return time.Unix(0, t).UTC().Format(time.RFC3339Nano) }
