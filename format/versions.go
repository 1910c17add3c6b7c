package format

import "container/list"

// versionCache keeps the last content of pages, by stream and number, so that a
// changed page can be stored as its difference. It is bounded; when it is full
// what was longest without a change goes. A content stays in the buffer of the
// pack that it was first stored in, which is kept as one.
type versionCache struct {
	limit int64 // bytes
	used  int64
	last  map[versionKey]version
	order list.List // of *versions, longest without a change first
}

type versionKey struct {
	stream StreamID
	page   uint64
}

type version struct {
	loc  pageLoc
	data []byte        // PageSize
	in   *list.Element // what it is forgotten with; nil: it lies in an open pack
}

// versions are contents that are forgotten together.
type versions struct {
	keys   []versionKey
	size   int64
	packed <-chan struct{} // closed when the buffer may be written to; nil: it may
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
	if c.limit > 0 {
		c.last[k] = version{loc: loc, data: data}
	}
}

// putCopy keeps a copy of a content: in the place of the one before, once that
// has been compressed. Whether it waits for that or not must not show in the tape.
func (c *versionCache) putCopy(k versionKey, data []byte, loc pageLoc) {
	if c.limit <= 0 {
		return
	}
	v := c.last[k]
	if v.in != nil {
		if p := v.in.Value.(*versions).packed; p != nil {
			<-p
		}
		copy(v.data, data)
		c.order.MoveToBack(v.in)
		v.loc = loc
		c.last[k] = v
		return
	}
	c.single(k, data, loc)
}

// single keeps a copy of a content by itself.
func (c *versionCache) single(k versionKey, data []byte, loc pageLoc) {
	in := c.order.PushBack(&versions{keys: []versionKey{k}, size: PageSize})
	c.last[k] = version{loc: loc, data: append([]byte(nil), data...), in: in}
	c.used += PageSize
	c.shrink()
}

// keepPack takes over a cut pack's buffer: size bytes, with the contents put
// under keys. Where these are a small part of it they are copied.
func (c *versionCache) keepPack(pack uint32, keys []versionKey, size int64, packed <-chan struct{}) {
	if c.limit <= 0 || len(keys) == 0 {
		return
	}
	if int64(len(keys))*PageSize*4 < size*3 {
		for _, k := range keys {
			if v, ok := c.last[k]; ok && v.in == nil && v.loc.pack == pack {
				c.single(k, v.data, v.loc)
			}
		}
		return
	}
	in := c.order.PushBack(&versions{keys: keys, size: size, packed: packed})
	for _, k := range keys {
		if v, ok := c.last[k]; ok && v.in == nil && v.loc.pack == pack {
			v.in = in
			c.last[k] = v
		}
	}
	c.used += size
	c.shrink()
}

func (c *versionCache) shrink() {
	for c.used > c.limit {
		e := c.order.Front()
		o := c.order.Remove(e).(*versions)
		c.used -= o.size
		for _, k := range o.keys {
			if c.last[k].in == e {
				delete(c.last, k)
			}
		}
	}
}
