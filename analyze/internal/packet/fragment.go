package packet

import "slices"

// Bounds of fragment reassembly. A datagram is at most 64 KiB; a fragment
// waits FragmentTimeout for its siblings (Zeek's frag_timeout).
const (
	FragmentTimeout  = 300e9 // ns
	maxFragmentBytes = 16 << 20
	maxDatagram      = 65535
)

// Defragmenter puts IP datagrams together. The zero value is ready.
//
// Memory is bounded: beyond 16 MiB of waiting fragments the oldest datagram is
// given up, and counted in Dropped.
type Defragmenter struct {
	Dropped uint64 // datagrams given up for memory or age
	table   map[fragmentKey]*datagram
	queue   []fragmentKey // in order of the first fragment; may hold finished ones
	bytes   int
}

type fragmentKey struct {
	src, dst Addr
	id       uint32
}

type datagram struct {
	start  int64
	header []byte // IPv4 header, or IPv6 headers before the fragment header
	proto  uint8
	total  int // payload bytes when the last fragment is known, else -1
	parts  []part
}

type part struct {
	off  int
	data []byte
}

// Add takes a fragment at time now. When it completes a datagram, ip is changed
// into the whole one, with its own memory, and true is returned.
func (d *Defragmenter) Add(ip *IP, now int64) bool {
	if d.table == nil {
		d.table = make(map[fragmentKey]*datagram)
	}
	d.expire(now)
	k := fragmentKey{ip.Src, ip.Dst, ip.ID}
	g := d.table[k]
	if g == nil {
		g = &datagram{start: now, total: -1}
		d.table[k] = g
		d.queue = append(d.queue, k)
	}
	if g.header == nil || ip.Offset == 0 {
		h := ip.Header
		if ip.V6 && len(h) >= 48 {
			h = h[:len(h)-8]
		}
		g.header, g.proto = slices.Clone(h), ip.Proto
	}
	end := ip.Offset + len(ip.Payload)
	if !ip.More && end > g.total {
		g.total = end
	}
	if g.total >= 0 && end > g.total {
		g.total = end
	}
	if end <= maxDatagram && len(ip.Payload) > 0 {
		d.bytes += g.insert(ip.Offset, ip.Payload)
	}
	whole := g.whole()
	if whole == nil {
		d.shrink()
		return false
	}
	d.remove(k, g)
	ip.Header, ip.Payload, ip.Proto = g.header, whole, g.proto
	ip.Total, ip.Wire = len(g.header)+len(whole), len(whole)
	ip.Fragment, ip.More, ip.Offset = false, false, 0
	return true
}

// insert keeps the bytes of data that are not there yet: the first to arrive
// wins. It returns the bytes kept.
func (g *datagram) insert(off int, data []byte) int {
	kept := 0
	for i := 0; len(data) > 0; i++ {
		n := len(data)
		if i < len(g.parts) {
			p := g.parts[i]
			if off >= p.off+len(p.data) {
				continue
			}
			n = max(min(n, p.off-off), 0)
			if n == 0 { // overlaps p from its inside
				skip := min(p.off+len(p.data)-off, len(data))
				off, data = off+skip, data[skip:]
				continue
			}
		}
		g.parts = slices.Insert(g.parts, i, part{off, slices.Clone(data[:n])})
		kept += n
		off, data = off+n, data[n:]
	}
	return kept
}

// whole returns the payload when it is there from 0 to its end.
func (g *datagram) whole() []byte {
	if g.total <= 0 {
		return nil
	}
	next := 0
	for _, p := range g.parts {
		if p.off != next {
			return nil
		}
		next += len(p.data)
	}
	if next < g.total {
		return nil
	}
	b := make([]byte, 0, next)
	for _, p := range g.parts {
		b = append(b, p.data...)
	}
	return b
}

func (g *datagram) size() int {
	n := 0
	for _, p := range g.parts {
		n += len(p.data)
	}
	return n
}

func (d *Defragmenter) remove(k fragmentKey, g *datagram) {
	d.bytes -= g.size()
	delete(d.table, k)
}

// expire gives up datagrams older than FragmentTimeout.
func (d *Defragmenter) expire(now int64) {
	for len(d.queue) > 0 {
		k := d.queue[0]
		if g := d.table[k]; g != nil {
			if now-g.start < FragmentTimeout {
				return
			}
			d.Dropped++
			d.remove(k, g)
		}
		d.queue = d.queue[1:]
	}
}

func (d *Defragmenter) shrink() {
	// A datagram of many tiny parts costs more than its bytes; the number of
	// waiting datagrams is bounded with the bytes.
	for (d.bytes > maxFragmentBytes || len(d.table) > maxFragmentBytes/1024) && len(d.queue) > 0 {
		if g := d.table[d.queue[0]]; g != nil {
			d.Dropped++
			d.remove(d.queue[0], g)
		}
		d.queue = d.queue[1:]
	}
}
