package format

import "container/list"

// versionCache keeps the last content of pages, by stream and number, so that a
// changed page can be stored as its difference. It is bounded; when it is full
// what was stored first goes. Contents that a pack holds as they are stay in the
// pack's buffer, which is then kept as one; contents that a pack holds as a
// difference are kept one by one.
type versionCache struct {
	limit int64 // bytes
	used  int64
	last  map[versionKey]version
	order list.List // of *versions, first stored first
}

type versionKey struct {
	stream StreamID
	page   uint64
}

type version struct {
	loc  pageLoc
	data []byte        // PageSize
	at   *list.Element // of a content kept by itself
}

// versions are contents that are forgotten together.
type versions struct {
	pack uint32 // whose buffer holds them; 0: one that is kept by itself
	keys []versionKey
	size int64
}

func newVersionCache(size int64) *versionCache {
	return &versionCache{limit: size, last: map[versionKey]version{}}
}

func (c *versionCache) get(k versionKey) (version, bool) {
	v, ok := c.last[k]
	return v, ok
}

// put keeps a content that lies in an open pack's buffer at data; keepPack must
// follow when the pack is cut.
func (c *versionCache) put(k versionKey, data []byte, loc pageLoc) {
	if c.limit <= 0 {
		return
	}
	if v := c.last[k]; v.at != nil {
		c.used -= PageSize
		c.order.Remove(v.at)
	}
	c.last[k] = version{loc: loc, data: data}
}

// putCopy keeps a copy of a content.
func (c *versionCache) putCopy(k versionKey, data []byte, loc pageLoc) {
	if c.limit <= 0 {
		return
	}
	v := c.last[k]
	if v.at != nil {
		copy(v.data, data)
		c.order.MoveToBack(v.at)
		c.last[k] = version{loc: loc, data: v.data, at: v.at}
		return
	}
	at := c.order.PushBack(&versions{keys: []versionKey{k}, size: PageSize})
	c.last[k] = version{loc: loc, data: append([]byte(nil), data...), at: at}
	c.used += PageSize
	c.shrink()
}

// keepPack takes over a cut pack's buffer: size bytes, with the contents put
// under keys.
func (c *versionCache) keepPack(pack uint32, keys []versionKey, size int64) {
	if c.limit <= 0 || len(keys) == 0 {
		return
	}
	c.order.PushBack(&versions{pack: pack, keys: keys, size: size})
	c.used += size
	c.shrink()
}

func (c *versionCache) shrink() {
	for c.used > c.limit {
		e := c.order.Front()
		o := c.order.Remove(e).(*versions)
		c.used -= o.size
		for _, k := range o.keys {
			if v := c.last[k]; v.at == e || (v.at == nil && v.loc.pack == o.pack) {
				delete(c.last, k)
			}
		}
	}
}
