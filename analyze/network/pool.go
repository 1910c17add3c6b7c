package network

import (
	"sync"

	"github.com/xentape/xentape/analyze/internal/packet"
)

// A batch carries datagrams to a worker, with a copy of their bytes.
type batch struct {
	items []item
	bytes []byte
	done  *sync.WaitGroup // told when the batch is done, if set
}

type item struct {
	shard          int
	ip             packet.IP
	m              meta
	header, length int // of the copy in bytes
}

// Sizes of a batch: large enough to make the hand-over cheap, small enough to
// stay in cache.
const (
	batchItems = 512
	batchBytes = 256 << 10
	batchDepth = 4 // batches waiting per worker
)

// A pool runs the shards on several goroutines. A shard belongs to one of them.
type pool struct {
	a    *Analyzer
	in   []chan *batch
	free chan *batch
	fill []*batch
	wg   sync.WaitGroup
}

func newPool(a *Analyzer, n int) *pool {
	p := &pool{a: a, in: make([]chan *batch, n), fill: make([]*batch, n), free: make(chan *batch, n*(batchDepth+2))}
	for i := range p.in {
		p.in[i] = make(chan *batch, batchDepth)
		p.wg.Add(1)
		go p.run(p.in[i])
	}
	return p
}

func (p *pool) run(in chan *batch) {
	defer p.wg.Done()
	for b := range in {
		off := 0
		for i := range b.items {
			it := &b.items[i]
			end := off + it.header + it.length
			it.ip.Header = b.bytes[off : off+it.header : off+it.header]
			it.ip.Payload = b.bytes[off+it.header : end : end]
			off = end
			p.a.shards[it.shard].datagram(&it.ip, &it.m)
		}
		if b.done != nil {
			b.done.Done()
		}
		b.items, b.bytes, b.done = b.items[:0], b.bytes[:0], nil
		select {
		case p.free <- b:
		default:
		}
	}
}

func (p *pool) send(shard int, ip *packet.IP, m *meta) {
	w := shard % len(p.in)
	b := p.fill[w]
	if b == nil {
		select {
		case b = <-p.free:
		default:
			b = &batch{items: make([]item, 0, batchItems), bytes: make([]byte, 0, batchBytes)}
		}
		p.fill[w] = b
	}
	b.items = append(b.items, item{shard: shard, ip: *ip, m: *m, header: len(ip.Header), length: len(ip.Payload)})
	b.bytes = append(append(b.bytes, ip.Header...), ip.Payload...)
	if len(b.items) >= batchItems || len(b.bytes) >= batchBytes-65536 {
		p.in[w] <- b
		p.fill[w] = nil
	}
}

// settle waits until everything sent so far has been analyzed.
func (p *pool) settle() {
	var done sync.WaitGroup
	for w, b := range p.fill {
		if b == nil {
			b = &batch{}
		}
		done.Add(1)
		b.done = &done
		p.in[w] <- b
		p.fill[w] = nil
	}
	done.Wait()
}

// close waits until everything sent has been analyzed.
func (p *pool) close() {
	for w, b := range p.fill {
		if b != nil {
			p.in[w] <- b
		}
		close(p.in[w])
	}
	p.wg.Wait()
}
