package main

import (
	"fmt"
	"sort"

	"github.com/xentape/xentape/analyze/network"
	"github.com/xentape/xentape/analyze/story"
	"github.com/xentape/xentape/format"
)

// packetOwner tells whose a packet is: the process that held its connection.
type packetOwner struct {
	tuples network.Tuples
	held   map[string][]held // by community id
}

type held struct {
	first, last uint64 // records
	comment     string
}

func newPacketOwner(s *story.Story) *packetOwner {
	p := &packetOwner{held: map[string][]held{}}
	for i, c := range s.Input().Conns {
		o := s.Owners[i]
		if o == nil {
			continue
		}
		p.held[c.CommunityID] = append(p.held[c.CommunityID], held{c.FirstRecord, c.LastRecord,
			fmt.Sprintf("process %d %s %s (%s), connection %s", o.PID, o.Comm, o.Exe, o.Grade, c.UID)})
	}
	for _, h := range p.held {
		sort.Slice(h, func(i, j int) bool { return h[i].first < h[j].first })
	}
	return p
}

func (p *packetOwner) comment(pk *format.Packet) []string {
	id, ok := p.tuples.CommunityID(pk)
	if !ok {
		return nil
	}
	for _, h := range p.held[id] {
		if pk.Seq >= h.first && pk.Seq <= h.last {
			return []string{h.comment}
		}
	}
	return nil
}
