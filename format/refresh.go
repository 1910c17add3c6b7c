package format

import (
	"fmt"
	"slices"
)

// Refresh takes note that the tape has grown to size bytes. A record that was
// not wholly there before may be now; what was returned stays valid. It must not
// run while anything else uses the Reader.
func (r *Reader) Refresh(size int64) error {
	switch {
	case size < r.size:
		return fmt.Errorf("tape of %d bytes had %d: it was cut", size, r.size)
	case size == r.size || r.sealed:
		return nil
	}
	r.size = size
	// The unfinished end is what grew; chunks missing before it are named again.
	r.damage = slices.DeleteFunc(r.damage, func(d *Damage) bool {
		return (d.Kind == DamageTruncated && d.Offset >= r.scanned) || d.Kind == DamageMissing
	})
	s := newScanner(r.src, size)
	s.tape = &r.tape
	n := len(r.chunks)
	var last uint64
	if n > 0 {
		last = r.chunks[n-1].head.Number
	}
	var err error
	if r.scanned, err = s.scan(r.scanned, r.add); err != nil {
		return err
	}
	r.damage = append(r.damage, s.damage...)
	fresh := r.chunks[n:]
	if err := r.learn(fresh); err != nil {
		return err
	}
	clear(r.images)
	clear(r.epochs)
	for _, c := range fresh {
		if last++; c.head.Number != last || c.head.Type == chunkLoss {
			r.losses = nil
			return r.arrange(false)
		}
	}
	r.nameMissing()
	r.extend(fresh)
	return nil
}

// extend enters chunks that follow all others.
func (r *Reader) extend(fresh []*chunkInfo) {
	r.arrangeLanes(fresh)
	for _, c := range fresh {
		switch {
		case c.pages != nil:
			r.arrangePages(c)
		case c.head.Type == chunkRecords && c.rec.Types&beginTypes != 0:
			r.takeBegin(c)
		}
	}
	r.beginFromMetas(fresh)
}
