package foreign

import (
	"bytes"
	"context"
	"fmt"

	"github.com/xentape/xentape/format"
)

// noDomain is StreamDef.DomID of a source without one.
const noDomain = 0xffff

// memoryFeed writes memory images as snapshots of one stream, each on top of the
// one before.
type memoryFeed struct {
	domain [16]byte
	images []MemoryInput
	stream format.StreamID
	parent uint32
	before *MemoryImage
}

func (f *memoryFeed) close() {}

func (f *memoryFeed) when() (int64, bool, bool) {
	if len(f.images) == 0 {
		return 0, false, false
	}
	return f.images[0].Time, f.images[0].Time != 0, true
}

func (f *memoryFeed) define(w *importRun, t int64, m *MemoryImage) error {
	d := format.StreamDef{
		Kind: format.StreamMemory, Name: "memory", Domain: f.domain, DomID: noDomain, Size: m.Pages() * format.PageSize,
		Attrs: []format.Attr{
			{Name: "guest-type", Value: string(m.Guest)}, {Name: "method", Value: "import"},
			{Name: "source", Value: m.Name}, {Name: "source-format", Value: m.Format},
		},
	}
	if m.Xen != "" {
		d.Attrs = append(d.Attrs, format.Attr{Name: "xen-version", Value: m.Xen})
	}
	d.Time = t
	id, err := w.sink.DefineStream(d)
	f.stream = id
	return err
}

func (f *memoryFeed) put(ctx context.Context, w *importRun, t int64, uncertainty uint32) error {
	in := f.images[0]
	f.images = f.images[1:]
	m := in.Image
	if f.stream == 0 {
		if err := f.define(w, t, m); err != nil {
			return err
		}
	}
	for _, line := range m.Warnings {
		w.report.warn("%s: %s", m.Name, line)
	}
	pages := m.Pages()
	if f.before != nil {
		pages = max(pages, f.before.Pages())
	}
	b := format.SnapshotBegin{Parent: f.parent, Pages: pages}
	b.Time, b.Uncertainty, b.Stream = t, uncertainty, f.stream
	s, err := w.sink.BeginSnapshot(b)
	if err != nil {
		return err
	}
	c := memoryCopy{feed: f, w: w, m: m, s: s, t: t}
	if err := c.states(ctx); err != nil {
		return err
	}
	if err := c.attachments(uncertainty); err != nil {
		return err
	}
	e := format.SnapshotEnd{ID: s.ID(), Conditions: format.Conditions{
		Paused: in.Paused, Fuzzy: !in.Paused, Complete: len(m.Warnings) == 0 && len(c.missing) == 0,
		CopyStart: t, CopyEnd: t, Examined: c.examined, Changed: c.changed, Missed: format.Unknown, Method: "import",
	}}
	e.Time, e.Uncertainty, e.Stream = t, uncertainty, f.stream
	if err := s.End(e); err != nil {
		return err
	}
	f.parent, f.before = s.ID(), m
	w.report.Snapshots++
	if len(c.missing) > 0 {
		detail := fmt.Sprintf("%s: %d pages of snapshot %d could not be read: %v", m.Name, c.lost, s.ID(), c.reason)
		return w.gap(f.stream, t, t, format.Unknown, c.missing, detail)
	}
	return nil
}

// memoryCopy copies one image.
type memoryCopy struct {
	feed              *memoryFeed
	w                 *importRun
	m                 *MemoryImage
	s                 *format.SnapshotWriter
	t                 int64
	examined, changed uint64
	lost              uint64
	missing           []format.Extent
	reason            error
	page, old         [format.PageSize]byte
}

// states states every page of the image, and as absent every page that only the
// image before it had: pages not stated would be as in that one.
func (c *memoryCopy) states(ctx context.Context) error {
	if c.feed.before != nil {
		if err := c.absent(c.feed.before.States(), c.m.States()); err != nil {
			return err
		}
	}
	for _, e := range c.m.States() {
		if e.State != format.PageData {
			if err := c.s.State(e.Extent, e.State); err != nil {
				return err
			}
			continue
		}
		for n := e.Start; n < e.Start+e.Count; n++ {
			if n%1024 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if err := c.copy(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// absent states the pages of the image before that this one does not mention. Both
// lists are ascending.
func (c *memoryCopy) absent(before, now []StateExtent) error {
	var told []format.Extent
	for _, s := range now {
		told = append(told, s.Extent)
	}
	for _, was := range before {
		for len(told) > 0 && told[0].Start+told[0].Count <= was.Start {
			told = told[1:]
		}
		for _, e := range was.Without(told) {
			if err := c.s.State(e, format.PageAbsent); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *memoryCopy) copy(n uint64) error {
	c.examined++
	if _, err := c.m.ReadPage(n, c.page[:]); err != nil {
		c.lose(n, err)
		return c.s.State(format.Extent{Start: n, Count: 1}, format.PageMissing)
	}
	if c.feed.before != nil {
		st, err := c.feed.before.ReadPage(n, c.old[:])
		if err != nil || st != format.PageData || !bytes.Equal(c.page[:], c.old[:]) {
			c.changed++
		}
	}
	return c.s.Page(n, c.page[:])
}

func (c *memoryCopy) lose(n uint64, err error) {
	c.lost++
	if c.reason == nil {
		c.reason = err
	}
	if k := len(c.missing); k > 0 && c.missing[k-1].Start+c.missing[k-1].Count == n {
		c.missing[k-1].Count++
		return
	}
	if len(c.missing) < 1<<16 {
		c.missing = append(c.missing, format.Extent{Start: n, Count: 1})
	}
}

// attachments stores the image's blobs with the snapshot.
func (c *memoryCopy) attachments(uncertainty uint32) error {
	for _, name := range c.m.Attachments() {
		b, err := c.m.ReadAttachment(name)
		if err != nil {
			c.w.report.warn("%s: %v", c.m.Name, err)
			continue
		}
		if len(b) > format.MaxAttachment {
			c.w.report.warn("%s: attachment %s of %d bytes does not fit a tape", c.m.Name, name, len(b))
			continue
		}
		a := &format.Attachment{Snapshot: c.s.ID(), Name: name, Data: b}
		a.Time, a.Uncertainty, a.Stream = c.t, uncertainty, c.feed.stream
		if err := c.w.sink.Write(a); err != nil {
			return err
		}
	}
	return nil
}
