package foreign

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/xentape/xentape/format"
)

// packetFeed writes a capture, one stream for each interface that has packets.
type packetFeed struct {
	domain  [16]byte
	in      PacketsInput
	packets *pulled[*format.Packet]
	streams map[format.StreamID]format.StreamID // by the file's interface, from 1
	first   int64
	last    int64
	ended   bool
	keys    int // secrets written
}

func newPacketFeed(domain [16]byte, in PacketsInput) *packetFeed {
	return &packetFeed{
		domain: domain, in: in, packets: pull(in.Packets.All()),
		streams: map[format.StreamID]format.StreamID{}, first: math.MaxInt64,
	}
}

func (f *packetFeed) close() { f.packets.stop() }

func (f *packetFeed) when() (int64, bool, bool) {
	switch {
	case !f.packets.ok:
		return 0, false, !f.ended // the end itself is an item: what the capture lost
	case f.packets.err != nil:
		return 0, false, true
	}
	k := f.packets.item
	return k.Time, k.Uncertainty != math.MaxUint32, true
}

func (f *packetFeed) put(_ context.Context, w *importRun, t int64, uncertainty uint32) error {
	if !f.packets.ok {
		f.ended = true
		return f.end(w)
	}
	defer f.packets.advance()
	if err := f.packets.err; err != nil {
		return f.damage(w, t, err)
	}
	k := f.packets.item
	id, err := f.stream(w, t, k.Stream)
	if err != nil {
		return err
	}
	if err := f.secrets(w, id, t); err != nil {
		return err
	}
	k.Stream, k.Time = id, t
	if uncertainty != 0 {
		k.Uncertainty = uncertainty
	}
	f.first, f.last = min(f.first, t), max(f.last, t)
	w.report.Packets++
	return w.sink.Write(k)
}

// stream returns the tape's stream of one of the file's interfaces.
func (f *packetFeed) stream(w *importRun, t int64, iface format.StreamID) (format.StreamID, error) {
	if id, ok := f.streams[iface]; ok {
		return id, nil
	}
	d := format.StreamDef{
		Kind: format.StreamNetwork, Name: f.in.Name, Domain: f.domain, DomID: noDomain,
		Attrs: []format.Attr{{Name: "method", Value: "import"}, {Name: "source", Value: f.in.Packets.Name}},
	}
	d.Time = t
	if len(f.streams) > 0 {
		d.Name = fmt.Sprintf("%s.%d", f.in.Name, iface-1)
	}
	if all := f.in.Packets.Interfaces(); int(iface) <= len(all) && iface > 0 {
		i := all[iface-1]
		d.Attrs = append(d.Attrs, format.Attr{Name: "link-type", Value: strconv.Itoa(int(i.LinkType))})
		if i.Name != "" {
			d.Attrs = append(d.Attrs, format.Attr{Name: "device", Value: i.Name})
		}
		if i.Description != "" {
			d.Attrs = append(d.Attrs, format.Attr{Name: "description", Value: i.Description})
		}
	}
	id, err := w.sink.DefineStream(d)
	if err == nil {
		f.streams[iface] = id
	}
	return id, err
}

// damage records a stretch of the file that could not be read.
func (f *packetFeed) damage(w *importRun, t int64, err error) error {
	id, e := f.stream(w, t, f.anyInterface())
	if e != nil {
		return errors.Join(err, e)
	}
	return w.gap(id, f.last, f.last, format.Unknown, nil, err.Error())
}

// anyInterface is the lowest of the interfaces seen, or the first.
func (f *packetFeed) anyInterface() format.StreamID {
	low := format.StreamID(math.MaxUint32)
	for i := range f.streams {
		low = min(low, i)
	}
	if len(f.streams) == 0 {
		return 1
	}
	return low
}

// secrets stores the keys a capture carries beside its packets.
func (f *packetFeed) secrets(w *importRun, id format.StreamID, t int64) error {
	for ; f.keys < len(f.in.Packets.Secrets()); f.keys++ {
		s := f.in.Packets.Secrets()[f.keys]
		a := &format.Attachment{
			Name: fmt.Sprintf("pcapng/secrets/%d", f.keys), Data: s.Data,
			Attrs: []format.Attr{{Name: "type", Value: fmt.Sprintf("%#x", s.Type)}},
		}
		a.Time, a.Stream = t, id
		if err := w.sink.Write(a); err != nil {
			return err
		}
	}
	return nil
}

// end records how many packets the capture says it lost. A capture without
// packets still becomes a stream: nothing was sent, which is worth knowing.
func (f *packetFeed) end(w *importRun) error {
	if len(f.streams) == 0 {
		_, err := f.stream(w, f.last, 1)
		return err
	}
	for n, i := range f.in.Packets.Interfaces() {
		id, ok := f.streams[format.StreamID(n+1)]
		if !ok || i.Dropped == 0 {
			continue
		}
		g := &format.Gap{
			From: f.first, To: f.last, Reason: format.GapOverflow, Count: i.Dropped,
			Detail: fmt.Sprintf("%s: the capture says it lost %d packets", f.in.Packets.Name, i.Dropped),
		}
		g.Time, g.Stream = f.last, id
		if err := w.sink.Write(g); err != nil {
			return err
		}
	}
	return nil
}
