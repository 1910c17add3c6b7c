package foreign

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/xentape/xentape/format"
)

// diskFeed writes a disk's base image, then its log.
type diskFeed struct {
	domain [16]byte
	in     DiskInput
	log    *pulled[format.Record]
	stream format.StreamID
	based  bool // the base is written, or there is none
	last   int64
}

func newDiskFeed(domain [16]byte, in DiskInput) *diskFeed {
	f := &diskFeed{domain: domain, in: in, based: in.Base == nil}
	var records iter.Seq2[format.Record, error] = func(func(format.Record, error) bool) {}
	if in.Writes != nil {
		records = in.Writes.Records()
	}
	f.log = pull(records)
	return f
}

func (f *diskFeed) close() { f.log.stop() }

func (f *diskFeed) when() (int64, bool, bool) {
	if !f.log.ok {
		return 0, false, !f.based
	}
	if f.log.err != nil {
		return 0, false, true
	}
	t := f.log.item.Header().Time
	return t, t != 0, true
}

func (f *diskFeed) put(ctx context.Context, w *importRun, t int64, uncertainty uint32) error {
	f.last = max(f.last, t)
	if f.stream == 0 {
		if err := f.define(w, t); err != nil {
			return err
		}
	}
	if !f.based {
		f.based = true
		return f.base(ctx, w, t, uncertainty)
	}
	defer f.log.advance()
	if err := f.log.err; err != nil {
		return w.gap(f.stream, f.last, f.last, format.Unknown, nil, err.Error())
	}
	h := f.log.item.Header()
	h.Time, h.Uncertainty, h.Stream = t, uncertainty, f.stream
	if _, ok := f.log.item.(*format.DiskRequest); ok {
		w.report.Requests++
	}
	return w.sink.Write(f.log.item)
}

func (f *diskFeed) define(w *importRun, t int64) error {
	d := format.StreamDef{
		Kind: format.StreamDisk, Name: f.in.Name, Domain: f.domain, DomID: noDomain, Size: uint64(f.in.BaseSize),
		Attrs: []format.Attr{{Name: "method", Value: "import"}},
	}
	if f.in.Base != nil {
		d.Attrs = append(d.Attrs, format.Attr{Name: "source", Value: f.in.Source})
	}
	if f.in.Writes != nil {
		d.Attrs = append(d.Attrs, format.Attr{Name: "writes-source", Value: f.in.Writes.Name},
			format.Attr{Name: "writes-format", Value: "dm-log-writes"})
	}
	d.Time = t
	id, err := w.sink.DefineStream(d)
	f.stream = id
	return err
}

// base writes the disk's first content. It is taken as of the moment before the
// first request.
func (f *diskFeed) base(ctx context.Context, w *importRun, t int64, uncertainty uint32) error {
	const page = format.PageSize
	size := f.in.BaseSize
	b := format.SnapshotBegin{Pages: uint64((size + page - 1) / page)}
	b.Time, b.Uncertainty, b.Stream = t, uncertainty, f.stream
	s, err := w.sink.BeginSnapshot(b)
	if err != nil {
		return err
	}
	var missing []format.Extent
	var reason error
	buf := make([]byte, 256*page)
	for off := int64(0); off < size; off += int64(len(buf)) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n := int(min(int64(len(buf)), size-off))
		clear(buf[n:])
		if k, err := f.in.Base.ReadAt(buf[:n], off); k < n {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			reason = err
			lost := format.Extent{Start: uint64(off) / page, Count: uint64(n+page-1) / page}
			missing = append(missing, lost)
			if err := s.State(lost, format.PageUnreadable); err != nil {
				return err
			}
			continue
		}
		for at := 0; at < n; at += page {
			if err := s.Page(uint64(off+int64(at))/page, buf[at:at+page]); err != nil {
				return err
			}
		}
	}
	e := format.SnapshotEnd{ID: s.ID(), Conditions: format.Conditions{
		Paused: true, Complete: reason == nil, CopyStart: t, CopyEnd: t,
		Examined: b.Pages, Missed: format.Unknown, Method: "import",
	}}
	e.Time, e.Uncertainty, e.Stream = t, uncertainty, f.stream
	if err := s.End(e); err != nil {
		return err
	}
	w.report.Snapshots++
	if reason == nil {
		return nil
	}
	for i := range missing {
		missing[i].Start *= page
		missing[i].Count *= page
	}
	return w.gap(f.stream, t, t, format.Unknown, missing, fmt.Sprintf("%s: %v", f.in.Source, reason))
}
