package story

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/xentape/xentape/analyze/files"
)

// pageCache compares what reaches a disk with what the latest snapshot held of it
// in memory: content that a snapshot already has was written before that
// snapshot, whatever the inode's times say.
type pageCache struct {
	snap    *Snapshot
	devices map[string][2]uint32 // block device → major, minor
}

const (
	maxCachedFile = 4 << 20 // bytes of a file that is compared
	maxLooked     = 512     // writes to one disk compared with one snapshot
)

func (c *pageCache) begin(s *Snapshot) {
	*c = pageCache{snap: s, devices: map[string][2]uint32{}}
	for i := range s.Processes {
		p := &s.Processes[i]
		if f := p.ExeFile; f != nil && f.Device != "" {
			c.devices[f.Device] = [2]uint32{f.Major, f.Minor}
		}
		for k := range p.Files {
			if f := &p.Files[k].FileID; f.Device != "" {
				c.devices[f.Device] = [2]uint32{f.Major, f.Minor}
			}
		}
	}
}

// cached looks for the content of a write in the snapshot before it. What was
// written before the base was complete is not compared: it is part of the base,
// or told from a base that never was complete.
func (e *Engine) cached(d *disk, ev *files.Event) *Evidence {
	c := &e.cache
	if c.snap == nil || ev.LastRecord <= d.settled || ev.Op != files.OpWrite || ev.SHA256New == "" || ev.Size == nil || *ev.Size == 0 || *ev.Size > maxCachedFile || d.compared >= maxLooked {
		return nil
	}
	dev, ok := c.devices[ev.Volume]
	if !ok {
		return nil
	}
	d.compared++
	f, err := e.procs.PageCache(dev[0], dev[1], ev.Inode)
	if err != nil || uint64(f.Size) != *ev.Size && ev.SizeOld == nil || f.Size > maxCachedFile || len(f.Missing()) > 0 {
		return nil
	}
	h := sha256.New()
	if err := f.Pages(func(_ uint64, b []byte) error { _, err := h.Write(b); return err }); err != nil {
		return nil
	}
	said := ""
	switch hex.EncodeToString(h.Sum(nil)) {
	case ev.SHA256New:
		said = "already has this content: it was written before"
	case ev.SHA256Old:
		said = "still has the content from before: it was written after"
	default:
		return nil
	}
	return &Evidence{Stream: "memory", Records: []uint64{c.snap.First, c.snap.Last},
		Detail: fmt.Sprintf("snapshot #%d: the page cache of inode %d %s", c.snap.Number, ev.Inode, said)}
}
