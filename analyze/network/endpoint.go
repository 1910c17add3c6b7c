package network

import "sort"

// tcpState is the state of one side of a TCP connection.
type tcpState uint8

// Zeek's endpoint states.
const (
	inactive    tcpState = iota // nothing seen from it
	synSent                     // SYN
	synAckSent                  // SYN and ACK as the first packet of the connection
	partial                     // first seen in mid-stream
	established                 // handshake done
	closed                      // FIN
	reset                       // RST
)

// Limits of one direction's stream tracking (Zeek's tcp_max_initial_window,
// tcp_max_above_hole_without_any_acks, tcp_excessive_data_without_further_acks).
const (
	maxInitialWindow = 16384
	maxAboveHole     = 16384
	maxUnacked       = 10 << 20
	maxSegments      = 4096 // segments kept above holes
)

// tooFar is a jump of sequence numbers that is more likely an error than data.
const tooFar = 1 << 20

// An endpoint is one side of a TCP connection: its sequence space and how much
// of its stream was seen. Relative sequence numbers count from 0 at the SYN.
type endpoint struct {
	state, prev tcpState
	seen        bool // any packet
	didClose    bool
	fin, rst    bool
	last, ack   uint32
	lastWraps   uint32
	ackWraps    uint32
	start       int64 // initial sequence number, 32 bits of it
	stream      stream
	rexmits     scaled
	gaps        scaled
	badSums     scaled
	zeroWindows scaled
	finSeq      uint64 // one past the FIN
	histSYN     uint64 // relative sequence numbers last put in the history
	histFIN     uint64
	histRST     uint64
	reordered   uint64 // segments that arrived above a hole
}

// A scaled counter reports its 1st, 10th, 100th … increment.
type scaled uint64

func (s *scaled) hit() bool {
	*s++
	n := *s
	for n%10 == 0 && n > 0 {
		n /= 10
	}
	return n == 1
}

func (e *endpoint) set(s tcpState) {
	if s != e.state {
		e.prev, e.state = e.state, s
	}
}

func delta(a, b uint32) int32 { return int32(a - b) }

func full(seq, wraps uint32) uint64 { return uint64(wraps)<<32 + uint64(seq) }

// relative places seq near the last sequence number known, counting wraps of
// the 32-bit space. under reports a number before the start of the stream.
func (e *endpoint) relative(seq, last, wraps uint32) (rel uint64, under bool) {
	d := delta(seq, last)
	if d < 0 && wraps > 0 && seq > last {
		wraps--
	} else if d > 0 && seq < last {
		wraps++
	}
	if wraps == 0 {
		d = delta(seq, uint32(e.start))
		return uint64(int64(d)), d < 0
	}
	return full(seq, wraps) - uint64(e.start), false
}

// begin sets the sequence space: start is the (assumed) SYN's number, last one
// past what was sent so far.
func (e *endpoint) begin(last, start uint32) {
	e.start, e.ack, e.last = int64(start), start, last
}

func (e *endpoint) advanceLast(seq uint32) {
	if seq < e.last {
		e.lastWraps++
	}
	e.last = seq
}

func (e *endpoint) advanceAck(seq uint32) {
	if d := delta(seq, e.ack); d > 0 && (seq != 0 || d <= tooFar) {
		if seq < e.ack {
			e.ackWraps++
		}
		e.ack = seq
	}
}

// noneAcked: at most the SYN of this side was acknowledged.
func (e *endpoint) noneAcked() bool {
	ack := full(e.ack, e.ackWraps)
	return ack == uint64(e.start) || ack == uint64(e.start)+1
}

// size is the payload bytes this side sent, by sequence numbers.
func (e *endpoint) size(peer *endpoint) uint64 {
	if e.prev == synSent && e.state == reset && peer.state == inactive && !e.noneAcked() {
		return 0
	}
	n := max(full(e.last, e.lastWraps), full(e.ack, e.ackWraps)) - uint64(e.start)
	if n != 0 {
		n-- // the SYN, counted also where it was only assumed
	}
	if n != 0 && e.fin {
		n--
	}
	return n
}

// A span is a run of stream bytes [from, to) that lies above a hole.
type span struct{ from, to uint64 }

// A stream tracks which bytes of one direction were seen: all before next, and
// those in above. It holds no bytes itself.
type stream struct {
	next    uint64 // next byte to deliver; 0 means not begun, the first byte is 1
	trimmed uint64 // acknowledged or given up to here
	above   []span
	skip    bool // too much is missing to go on
	eof     bool
	missed  uint64 // bytes reported as content gaps
}

func (s *stream) init() {
	if s.next == 0 {
		s.next, s.trimmed = 1, 1
	}
}

// holds reports whether data waits for an acknowledgement or for a hole.
func (s *stream) holds() bool { return s.next > s.trimmed || len(s.above) > 0 }

func (s *stream) top() uint64 {
	if n := len(s.above); n > 0 {
		return s.above[n-1].to
	}
	return s.next
}

func (s *stream) buffered() uint64 {
	n := uint64(0)
	if s.next > s.trimmed {
		n = s.next - s.trimmed
	}
	for _, a := range s.above {
		n += a.to - a.from
	}
	return n
}

// insert adds [from, to), from > next, to the spans above the hole.
func (s *stream) insert(from, to uint64) {
	i := sort.Search(len(s.above), func(i int) bool { return s.above[i].to >= from })
	j := i
	for j < len(s.above) && s.above[j].from <= to {
		from, to = min(from, s.above[j].from), max(to, s.above[j].to)
		j++
	}
	if i == j {
		s.above = append(s.above, span{})
		copy(s.above[i+1:], s.above[i:])
		s.above[i] = span{from, to}
		return
	}
	s.above[i] = span{from, to}
	s.above = append(s.above[:i+1], s.above[j:]...)
}

// absorb moves next over spans it has reached.
func (s *stream) absorb() {
	n := 0
	for n < len(s.above) && s.above[n].from <= s.next {
		s.next = max(s.next, s.above[n].to)
		n++
	}
	s.above = append(s.above[:0], s.above[n:]...)
}
