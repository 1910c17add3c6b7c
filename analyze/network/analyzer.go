package network

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"

	"github.com/xentape/xentape/analyze/internal/packet"
	"github.com/xentape/xentape/format"
)

// Options say how packets are read.
type Options struct {
	// RealtimeOffset is added to record times (ns) to get wall-clock time (ns
	// since 1970 UTC). When 0, the first anchor of the tape sets it.
	RealtimeOffset int64
	// IgnoreChecksums takes packets whose checksum is wrong, as Zeek's -C. Needed
	// for captures made on a host that leaves checksums to its network card.
	IgnoreChecksums bool
	// Content parses what is inside the connections: services, DNS, HTTP, TLS,
	// SSH, QUIC, files. Without it only connection records are made.
	Content bool
	// Workers is the number of goroutines; 0 means one, negative one per
	// processor. Results do not depend on it.
	Workers int
	// Protocols limits the application protocols looked for, and with them the
	// ports that tell who is the server. nil means all; see Protocols.
	Protocols []string
	// LocalNets are the monitored networks, besides the private address space,
	// for local_orig and local_resp.
	LocalNets []netip.Prefix
	// FileBlocks makes File.Blocks, for finding files again in disk blocks.
	FileBlocks bool
	// Streams also takes what TCP connections without a known protocol carried
	// for content: Analyzer.Streams.
	Streams bool
	// FileContent, if set, is called with the bytes of each file found, in
	// order, and with data nil at its end. Calls for one file are sequential;
	// with several workers different files' calls are concurrent. data is only
	// valid during the call.
	FileContent func(f *File, offset uint64, data []byte)
}

// shards is how many independent flow tables there are. It is fixed, and not
// the number of workers, so that what shares a table never depends on the
// machine.
const shards = 16

// An Analyzer makes connection records of the packets fed to it. It is not safe
// for concurrent use; it may use several goroutines itself.
type Analyzer struct {
	opt      Options
	ports    *ports
	frames   packet.Frames
	defrag   packet.Defragmenter
	shards   [shards]*shard
	pool     *pool
	streams  map[format.StreamID]*format.StreamDef
	gaps     []format.Gap
	anchored bool
	finished bool
	last     int64                      // time of the latest packet, ns of the tape
	ifaces   map[format.StreamID]uint32 // numbers of streams, in order of their first packets
	stats    Stats
	results  *results
	relays   map[relay]struct{}
	// The stream of the packet before, and its number.
	before      format.StreamID
	ifaceBefore uint32
}

// Stats count what was read, and what could not be and why.
type Stats struct {
	Packets     uint64 // packet records
	Bytes       uint64 // captured
	NotIP       uint64 // frames that carry no IP, or an unknown link layer
	Truncated   uint64 // IP or transport headers cut short
	Malformed   uint64 // headers that contradict themselves
	BadChecksum uint64 // IPv4 header checksums; packets left out
	Offloaded   uint64 // total length 0, left out because checksums are verified
	Fragments   uint64 // IP fragments
	Lost        uint64 // datagrams whose fragments never were complete
	Evicted     uint64 // connections ended early because too many were alive
	Unparsed    uint64 // streams whose content was given up: more missing or buffered than the limits allow
}

// ErrFinished is returned when an Analyzer is fed after Finish.
var ErrFinished = errors.New("network: analyzer is finished")

// New returns an Analyzer.
func New(o Options) *Analyzer {
	a := &Analyzer{opt: o, ports: newPorts(o.Protocols), streams: make(map[format.StreamID]*format.StreamDef)}
	for i := range a.shards {
		a.shards[i] = newShard(&a.opt, a.ports)
	}
	n := o.Workers
	if n < 0 {
		n = runtime.GOMAXPROCS(0)
	}
	if n > 1 {
		a.pool = newPool(a, min(n, shards))
	}
	return a
}

// Feed takes the next record of the tape. Records of other streams than network
// ones are ignored. The record is not kept after the call.
func (a *Analyzer) Feed(r format.Record) error {
	if a.finished {
		return ErrFinished
	}
	switch r := r.(type) {
	case *format.Packet:
		a.packet(r)
	case *format.StreamDef:
		if r.Kind == format.StreamNetwork {
			d := *r
			a.streams[r.ID] = &d
		}
	case *format.Anchor:
		if a.opt.RealtimeOffset == 0 && !a.anchored {
			if a.pool != nil {
				a.pool.settle() // the workers read the offset
			}
			a.opt.RealtimeOffset = r.Realtime - r.Time
			a.anchored = true
		}
	case *format.Gap:
		if a.isNetwork(r.Stream) {
			g := *r
			g.Extents = nil
			a.gaps = append(a.gaps, g)
		}
	case nil:
		return fmt.Errorf("network: nil record")
	}
	return nil
}

// isNetwork: a gap without any stream definition is taken as one of packets,
// since only packets were fed.
func (a *Analyzer) isNetwork(id format.StreamID) bool {
	return a.streams[id] != nil || len(a.streams) == 0
}

// Gaps returns the gaps of the network streams, in tape order.
func (a *Analyzer) Gaps() []format.Gap { return a.gaps }

// Stats returns the counts so far; they are complete after Finish.
func (a *Analyzer) Stats() Stats { return a.stats }

// meta is what is known of a packet besides its bytes.
type meta struct {
	now             int64
	rec             uint64
	stream          format.StreamID
	iface           uint32 // number of the stream among those with packets
	missing         int    // bytes the capture cut off its end
	direction       format.Direction
	trust           bool // checksums are not to be verified
	vlan, innerVLAN uint16
	encap           []tunnelRef // enclosing tunnels, outermost first
}

// iface numbers the streams in order of their first packets.
func (a *Analyzer) iface(id format.StreamID) uint32 {
	if a.before == id && len(a.ifaces) > 0 {
		return a.ifaceBefore
	}
	n, known := a.ifaces[id]
	if !known {
		if a.ifaces == nil {
			a.ifaces = make(map[format.StreamID]uint32)
		}
		n = uint32(len(a.ifaces))
		a.ifaces[id] = n
	}
	a.before, a.ifaceBefore = id, n
	return n
}

func (a *Analyzer) packet(p *format.Packet) {
	a.stats.Packets++
	a.last = p.Time
	a.stats.Bytes += uint64(len(p.Data))
	m := meta{now: p.Time, rec: p.Seq, stream: p.Stream, iface: a.iface(p.Stream), direction: p.Direction, trust: a.opt.IgnoreChecksums}
	if n := int64(p.OrigLen) - int64(len(p.Data)); n > 0 {
		m.missing = int(n)
	}
	if v := p.VNet; v != nil && v.Flags&3 != 0 {
		m.trust = true // not computed yet, or already verified by the sender's side
	}
	missing := m.missing
	list := a.frames.Link(p.LinkType, p.Data)
	if len(list) == 0 {
		a.stats.NotIP++
		return
	}
	for i := range list {
		m.vlan, m.innerVLAN, m.missing = list[i].VLAN, list[i].InnerVLAN, missing
		a.datagram(&m, list[i].Data, list[i].Trimmed)
	}
}

// datagram decodes one IP packet and hands it to the shard of its addresses.
// Fragments are put together before that, because only the first has ports.
func (a *Analyzer) datagram(m *meta, data []byte, trimmed int) {
	var ip packet.IP
	if r := packet.DecodeIP(&ip, data, len(data)+trimmed+m.missing, m.trust); r != packet.OK {
		a.stats.reject(r)
		return
	}
	if ip.Fragment {
		a.stats.Fragments++
		switch {
		case len(ip.Payload) >= ip.Wire:
			if !a.defrag.Add(&ip, m.now) {
				return
			}
			m.missing = 0
		case ip.Offset != 0:
			a.stats.Truncated++
			return
		}
	}
	n := a.shardOf(&ip)
	if a.pool != nil {
		a.pool.send(n, &ip, m)
		return
	}
	a.shards[n].datagram(&ip, m)
}

func (s *Stats) reject(r packet.Reason) {
	switch r {
	case packet.BadChecksum:
		s.BadChecksum++
	case packet.Truncated:
		s.Truncated++
	case packet.LengthZero:
		s.Offloaded++
	default:
		s.Malformed++
	}
}

// Finish ends the analysis: connections still open are recorded as they stand.
func (a *Analyzer) Finish() error {
	if a.finished {
		return nil
	}
	a.finished = true
	if a.pool != nil {
		a.pool.close()
	}
	a.stats.Lost = a.defrag.Dropped
	for _, s := range a.shards {
		s.finish()
		a.stats.add(&s.stats)
		a.stats.Lost += s.defrag.Dropped
	}
	a.collect()
	for _, s := range a.shards {
		s.conns, s.content, s.table, s.spares = nil, content{}, nil, spares{}
	}
	return nil
}

func (s *Stats) add(o *Stats) {
	s.NotIP += o.NotIP
	s.Truncated += o.Truncated
	s.Malformed += o.Malformed
	s.BadChecksum += o.BadChecksum
	s.Offloaded += o.Offloaded
	s.Fragments += o.Fragments
	s.Evicted += o.Evicted
	s.Unparsed += o.Unparsed
}
