package network

import (
	"cmp"
	"iter"
	"slices"

	"github.com/xentape/xentape/format"
)

// results are the records of all shards, in their final order.
type results struct {
	conns []*Conn
}

// collect merges what the shards recorded. Order is time of the first packet,
// then its record, then the order within the shard, which is itself fixed.
func (a *Analyzer) collect() {
	r := &results{}
	for _, s := range a.shards {
		r.conns = append(r.conns, s.conns...)
		s.conns = nil
	}
	for _, c := range r.conns {
		c.TS = Seconds(c.Start + a.opt.RealtimeOffset)
		c.LocalOrig, c.LocalResp = a.opt.local(c.OrigH), a.opt.local(c.RespH)
		if d := a.streams[c.StreamID]; d != nil {
			c.Stream = d.Name
		}
		c.Uncertain = a.touched(c.StreamID, c.Start, c.End)
	}
	slices.SortFunc(r.conns, func(x, y *Conn) int {
		return cmp.Or(cmp.Compare(x.Start, y.Start), cmp.Compare(x.FirstRecord, y.FirstRecord), cmp.Compare(x.UID, y.UID))
	})
	a.results = r
}

// touched reports whether packets are missing from the stream between two times.
func (a *Analyzer) touched(id format.StreamID, from, to int64) bool {
	for i := range a.gaps {
		if g := &a.gaps[i]; g.Stream == id && g.From <= to && g.To >= from {
			return true
		}
	}
	return false
}

// Conns yields the connections in order of their first packet. It is empty
// before Finish.
func (a *Analyzer) Conns() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		if a.results == nil {
			return
		}
		for _, c := range a.results.conns {
			if !yield(c) {
				return
			}
		}
	}
}
