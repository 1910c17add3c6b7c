//go:build linux

package disk

import (
	"context"
	"fmt"
	"time"

	"github.com/xentape/xentape/format"
)

// baseBlock is how much of the device is read at once for the base image, bytes.
const baseBlock = 1 << 20

// copyBase writes the disk's content as an image, reading at idle priority and not
// faster than the configured rate. It began before the first request was written,
// so that every request of the tape is after it. When ctx ends before the copy
// does, the rest is stated as missing.
func (s *Source) copyBase(ctx context.Context, w *format.SnapshotWriter, start int64) error {
	IdleThread()
	pages := (s.dev.size + format.PageSize - 1) / format.PageSize
	buf := alignedBuffer(baseBlock)
	var lost []format.Extent
	var reason error
	off, read := uint64(0), uint64(0)
	for ; off < s.dev.size && ctx.Err() == nil; off += baseBlock {
		n := min(baseBlock, s.dev.size-off)
		clear(buf[n:])
		if err := s.dev.read(buf[:n], off); err != nil {
			reason = err
			lost = append(lost, format.Extent{Start: off, Count: n})
			e := format.Extent{Start: off / format.PageSize, Count: (n + format.PageSize - 1) / format.PageSize}
			if err := w.State(e, format.PageUnreadable); err != nil {
				return err
			}
			continue
		}
		for at := uint64(0); at < n; at += format.PageSize {
			if err := w.Page((off+at)/format.PageSize, buf[at:at+format.PageSize]); err != nil {
				return err
			}
		}
		read += n
		s.based.Store(read)
		s.pace(ctx, start, off+n)
	}
	if at := off / format.PageSize; at < pages {
		if err := w.State(format.Extent{Start: at, Count: pages - at}, format.PageMissing); err != nil {
			return err
		}
	}
	now := s.c.Clock.Now()
	e := format.SnapshotEnd{ID: w.ID(), Conditions: format.Conditions{
		Fuzzy: true, Complete: reason == nil && off >= s.dev.size, CopyStart: start, CopyEnd: now,
		Examined: min(off/format.PageSize, pages), Missed: format.Unknown, Method: "full",
	}}
	e.Time, e.Stream = now, s.stream
	if err := w.End(e); err != nil {
		return err
	}
	if reason == nil {
		return nil
	}
	g := &format.Gap{
		From: start, To: now, Reason: format.GapUnreadable, Count: format.Unknown, Extents: format.JoinExtents(lost),
		Detail: fmt.Sprintf("base image: %v", reason),
	}
	g.Time, g.Stream = now, s.stream
	return s.sink.Write(g)
}

// pace sleeps as long as done bytes are ahead of the rate.
func (s *Source) pace(ctx context.Context, start int64, done uint64) {
	if s.c.BaseRate <= 0 {
		return
	}
	due := start + int64(float64(done)/float64(s.c.BaseRate)*1e9)
	if ahead := time.Duration(due - s.c.Clock.Now()); ahead > 0 {
		t := time.NewTimer(ahead)
		defer t.Stop()
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
}
