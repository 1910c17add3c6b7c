package network

import (
	"cmp"
	"iter"
	"slices"
)

// results are the records of all shards, in their final order.
type results struct {
	conns []*Conn
	dns   []*DNS
	http  []*HTTP
	tls   []*TLS
	ssh   []*SSH
	quic  []*QUIC
	files []*File
	plain []*File
}

// collect merges what the shards recorded. Order is time, then the packet
// record, then the order within the shard, which is itself fixed.
func (a *Analyzer) collect() {
	r := &results{}
	for _, s := range a.shards {
		r.conns = append(r.conns, s.conns...)
		r.dns = append(r.dns, s.content.dns...)
		r.http = append(r.http, s.content.http...)
		r.tls = append(r.tls, s.content.tls...)
		r.ssh = append(r.ssh, s.content.ssh...)
		r.quic = append(r.quic, s.content.quic...)
		r.files = append(r.files, s.content.files...)
		r.plain = append(r.plain, s.content.streams...)
		s.conns, s.content, s.table = nil, content{}, nil
	}
	doubted := make(map[string]struct{})
	for _, c := range r.conns {
		if a.place(c); c.Uncertain {
			doubted[c.UID] = struct{}{}
		}
	}
	slices.SortStableFunc(r.conns, byStart)
	arrange(a, r.dns, doubted)
	arrange(a, r.http, doubted)
	arrange(a, r.tls, doubted)
	arrange(a, r.ssh, doubted)
	arrange(a, r.quic, doubted)
	arrange(a, r.files, doubted)
	arrange(a, r.plain, doubted)
	a.results = r
}

// place gives a connection's record what is known of where it was seen.
func (a *Analyzer) place(c *Conn) {
	c.TS = Seconds(c.Start + a.opt.RealtimeOffset)
	c.LocalOrig, c.LocalResp = a.opt.local(c.OrigH), a.opt.local(c.RespH)
	if d := a.streams[c.StreamID]; d != nil {
		c.Stream = d.Name
	}
	c.Uncertain = a.touched(c)
	for _, d := range c.DNS {
		a.placeContent(&d.Header, c.Uncertain)
	}
	for _, h := range c.HTTP {
		a.placeContent(&h.Header, c.Uncertain)
	}
	if c.TLS != nil {
		a.placeContent(&c.TLS.Header, c.Uncertain)
	}
	if c.SSH != nil {
		a.placeContent(&c.SSH.Header, c.Uncertain)
	}
	if c.QUIC != nil {
		a.placeContent(&c.QUIC.Header, c.Uncertain)
	}
}

func (a *Analyzer) placeContent(h *Header, uncertain bool) {
	h.TS, h.Uncertain = Seconds(h.at+a.opt.RealtimeOffset), uncertain
}

func byStart(x, y *Conn) int {
	return cmp.Or(cmp.Compare(x.Start, y.Start), cmp.Compare(x.FirstRecord, y.FirstRecord), cmp.Compare(x.UID, y.UID))
}

// arrange sorts records of content and gives them wall-clock time. doubted are the
// connections that packets are missing from.
func arrange[T interface{ head() *Header }](a *Analyzer, list []T, doubted map[string]struct{}) {
	slices.SortStableFunc(list, func(x, y T) int {
		h, k := x.head(), y.head()
		return cmp.Or(cmp.Compare(h.at, k.at), cmp.Compare(h.FirstRecord, k.FirstRecord), cmp.Compare(h.UID, k.UID))
	})
	for _, x := range list {
		h := x.head()
		_, uncertain := doubted[h.UID]
		a.placeContent(h, uncertain)
	}
}

func (h *Header) head() *Header { return h }

// touched reports whether packets that may have been the connection's are missing
// from the tape: from while it was alive, from when it could still have gone on,
// and from before it was met in mid-stream.
func (a *Analyzer) touched(c *Conn) bool {
	from, to := c.Start, c.End
	if c.midStream {
		from -= c.patience
	}
	if !c.over {
		to += c.patience
	}
	for i := range a.gaps {
		if g := &a.gaps[i]; g.Stream == c.StreamID && g.From <= to && g.To >= from {
			return true
		}
	}
	return false
}

// Ended returns the connections that have ended since it was called last, in order
// of their first packet. Together with those still alive at Finish they are what
// Conns yields then, each once and with the same content, but that a gap or anchor
// recorded later may still change Uncertain or TS. With several workers it waits
// for them.
func (a *Analyzer) Ended() []*Conn {
	var list []*Conn
	if a.finished {
		return nil
	}
	if a.pool != nil {
		a.pool.settle()
	}
	for _, s := range a.shards {
		if a.last >= s.swept {
			s.sweep(a.last)
		}
		list = append(list, s.conns[s.told:]...)
		s.told = len(s.conns)
	}
	for _, c := range list {
		a.place(c)
	}
	slices.SortStableFunc(list, byStart)
	return list
}

// Conns yields the connections in order of their first packet. It, like the
// others here, is empty before Finish.
func (a *Analyzer) Conns() iter.Seq[*Conn] { return slices.Values(a.found().conns) }

// DNS yields questions with their answers, in order of time.
func (a *Analyzer) DNS() iter.Seq[*DNS] { return slices.Values(a.found().dns) }

// HTTP yields requests with their responses.
func (a *Analyzer) HTTP() iter.Seq[*HTTP] { return slices.Values(a.found().http) }

// TLS yields TLS handshakes over TCP.
func (a *Analyzer) TLS() iter.Seq[*TLS] { return slices.Values(a.found().tls) }

// SSH yields SSH sessions.
func (a *Analyzer) SSH() iter.Seq[*SSH] { return slices.Values(a.found().ssh) }

// QUIC yields QUIC connections.
func (a *Analyzer) QUIC() iter.Seq[*QUIC] { return slices.Values(a.found().quic) }

// Files yields the files that were carried.
func (a *Analyzer) Files() iter.Seq[*File] { return slices.Values(a.found().files) }

// Streams yields, with Options.Streams, what each direction of a TCP connection
// of no known protocol carried; Source is "TCP". Connections whose beginning was
// not seen are left out.
func (a *Analyzer) Streams() iter.Seq[*File] { return slices.Values(a.found().plain) }

func (a *Analyzer) found() *results {
	if a.results == nil {
		return &results{}
	}
	return a.results
}
