package rebuild

import (
	"bytes"
	"slices"

	"github.com/xentape/xentape/format"
)

// maxPending bounds what requests without completions can make us hold, in bytes.
const maxPending = 256 << 20

// Pending holds requests between submission and completion. A recorder splits a large
// request into several records with one ID. The zero value holds none.
type Pending struct {
	byID  map[uint64]*submitted
	order []*submitted // by the first record; those taken are left out now and then
	bytes uint64
	limit uint64 // in bytes; 0: maxPending
}

// submitted is one request.
type submitted struct {
	id    uint64
	parts []*format.DiskRequest
	taken bool
}

// Add keeps a copy of a request. What it returns had to be given up for it, the oldest
// first: that is to be taken as having happened, with content that is not known
// (format.DiskNoData is set).
func (p *Pending) Add(r *format.DiskRequest) (givenUp []*format.DiskRequest) {
	c := *r
	c.Data = bytes.Clone(r.Data)
	s := p.byID[r.ID]
	if s == nil {
		if p.byID == nil {
			p.byID = map[uint64]*submitted{}
		}
		s = &submitted{id: r.ID}
		p.byID[r.ID] = s
		p.order = append(p.order, s)
	}
	s.parts = append(s.parts, &c)
	p.bytes += weight(&c)
	limit := p.limit
	if limit == 0 {
		limit = maxPending
	}
	for ; p.bytes > limit; p.order = p.order[1:] {
		if p.order[0].taken {
			continue
		}
		for _, old := range p.Take(p.order[0].id) {
			old.Flags |= format.DiskNoData
			givenUp = append(givenUp, old)
		}
	}
	return givenUp
}

// weight is what keeping a request costs, in bytes.
func weight(r *format.DiskRequest) uint64 { return uint64(len(r.Data)) + 128 }

// Take removes the records of a request, in their order; nil when there is none.
func (p *Pending) Take(id uint64) []*format.DiskRequest {
	s := p.byID[id]
	if s == nil {
		return nil
	}
	delete(p.byID, id)
	s.taken = true
	for _, r := range s.parts {
		p.bytes -= weight(r)
	}
	parts := s.parts
	s.parts = nil
	if len(p.order) > 2*len(p.byID)+1024 {
		p.order = slices.DeleteFunc(p.order, func(s *submitted) bool { return s.taken })
	}
	return parts
}
