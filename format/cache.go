package format

import (
	"container/list"
	"sync"
)

// bodyCache keeps opened pages chunks, the latest used, up to a number of bytes.
type bodyCache struct {
	mu    sync.Mutex
	limit int64
	used  int64
	order list.List // of *cacheEntry, latest used first
	byNum map[uint64]*list.Element
}

type cacheEntry struct {
	number uint64
	pack   *packBody
	size   int64
}

func (c *bodyCache) get(number uint64) *packBody {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byNum[number]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*cacheEntry).pack
}

func (c *bodyCache) put(number uint64, p *packBody) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byNum == nil {
		c.byNum = map[uint64]*list.Element{}
	}
	if c.byNum[number] != nil {
		return
	}
	n := &cacheEntry{number: number, pack: p, size: int64(len(p.data)) + 12*int64(len(p.bases)) + 40*int64(len(p.runs))}
	c.byNum[number] = c.order.PushFront(n)
	c.used += n.size
	for c.used > c.limit && c.order.Len() > 1 {
		e := c.order.Back()
		o := c.order.Remove(e).(*cacheEntry)
		delete(c.byNum, o.number)
		c.used -= o.size
	}
}
