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
	r := &results{
		conns: gather(a, func(s *shard) []*Conn { return s.conns }),
		dns:   gather(a, func(s *shard) []*DNS { return s.content.dns }),
		http:  gather(a, func(s *shard) []*HTTP { return s.content.http }),
		tls:   gather(a, func(s *shard) []*TLS { return s.content.tls }),
		ssh:   gather(a, func(s *shard) []*SSH { return s.content.ssh }),
		quic:  gather(a, func(s *shard) []*QUIC { return s.content.quic }),
		files: gather(a, func(s *shard) []*File { return s.content.files }),
		plain: gather(a, func(s *shard) []*File { return s.content.streams }),
	}
	for _, s := range a.shards {
		a.standing(s, r)
	}
	doubted := make(map[string]struct{})
	for _, c := range r.conns {
		if a.placeConn(c); c.Uncertain {
			doubted[c.UID] = struct{}{}
		}
	}
	r.conns = inOrder(r.conns)
	r.dns = arrange(a, r.dns, doubted)
	r.http = arrange(a, r.http, doubted)
	r.tls = arrange(a, r.tls, doubted)
	r.ssh = arrange(a, r.ssh, doubted)
	r.quic = arrange(a, r.quic, doubted)
	r.files = arrange(a, r.files, doubted)
	r.plain = arrange(a, r.plain, doubted)
	a.results = r
}

// gather joins one list of all shards.
func gather[T any](a *Analyzer, of func(*shard) []T) []T {
	var lists [shards][]T
	for i, s := range a.shards {
		lists[i] = of(s)
	}
	return slices.Concat(lists[:]...)
}

// placeConn gives a connection's record what is known of where it was seen.
func (a *Analyzer) placeConn(c *Conn) {
	c.TS = Seconds(c.Start + a.opt.RealtimeOffset)
	c.LocalOrig, c.LocalResp = a.opt.local(c.OrigH), a.opt.local(c.RespH)
	if d := a.streams[c.StreamID]; d != nil {
		c.Stream = d.Name
	}
	c.Uncertain = a.touched(c)
}

// place does the same for what was said in the connection as well.
func (a *Analyzer) place(c *Conn) {
	a.placeConn(c)
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

// Interim makes Conns, and the others here, yield what is known so far. Of
// connections still open they have the record as it stands, whose fields go on
// changing, and only content that has come to its end. What was yielded is valid
// until the next call of Feed. With several workers it waits for them.
func (a *Analyzer) Interim() {
	if a.finished {
		return
	}
	if a.pool != nil {
		a.pool.settle()
	}
	a.collect()
	a.results.files = slices.DeleteFunc(a.results.files, func(f *File) bool { return !f.ended })
}

// standing adds the records of the connections that are open, as they stand.
func (a *Analyzer) standing(s *shard, r *results) {
	for c := range s.table.all() {
		named := c.name // an anchor to come may still tell what the time was
		k := c.record()
		a.place(k)
		r.conns = append(r.conns, k)
		if c.app != nil && c.app.plain != nil && len(c.services) == 0 && !c.tcp.partial {
			r.plain = append(r.plain, c.app.plain.standing(c)...)
		}
		c.name = named
	}
}

// moment is where a record belongs in time: no two of a kind have the same but for
// those of one connection in one packet, which stay in the order they were made in.
type moment struct {
	at  int64  // ns of the tape
	rec uint64 // its first packet
	uid string
}

func (c *Conn) moment() moment   { return moment{c.Start, c.FirstRecord, c.UID} }
func (h *Header) moment() moment { return moment{h.at, h.FirstRecord, h.UID} }

// inOrder sorts records by time. What is compared is laid side by side: the records
// themselves are far apart in memory, and large.
func inOrder[T interface{ moment() moment }](list []T) []T {
	type place struct {
		moment
		i int
	}
	places := make([]place, len(list))
	for i, r := range list {
		places[i] = place{r.moment(), i}
	}
	slices.SortFunc(places, func(x, y place) int {
		if d := cmp.Or(cmp.Compare(x.at, y.at), cmp.Compare(x.rec, y.rec)); d != 0 {
			return d
		}
		return cmp.Or(cmp.Compare(x.uid, y.uid), cmp.Compare(x.i, y.i))
	})
	sorted := make([]T, len(list))
	for i, p := range places {
		sorted[i] = list[p.i]
	}
	return sorted
}

// arrange sorts records of content and gives them wall-clock time. doubted are the
// connections that packets are missing from.
func arrange[T interface {
	head() *Header
	moment() moment
}](a *Analyzer, list []T, doubted map[string]struct{}) []T {
	for _, x := range list {
		h := x.head()
		_, uncertain := doubted[h.UID]
		a.placeContent(h, uncertain)
	}
	return inOrder(list)
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
	return inOrder(list)
}

// Conns yields the connections in order of their first packet. It, like the
// others here, is empty before Finish or Interim.
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
