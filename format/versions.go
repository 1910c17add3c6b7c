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
	data []byte    // PageSize
	in   *versions // what it is forgotten with
}

// versions are contents that are forgotten together.
type versions struct {
	keys   []versionKey
	size   int64
	packed <-chan struct{} // closed when the buffer may be written to; nil: it may
	place  *list.Element   // in order; nil: they lie in an open pack
}

func newVersionCache(size int64) *versionCache {
	return &versionCache{limit: size, last: map[versionKey]version{}}
}

func (c *versionCache) get(k versionKey) (version, bool) {
	v, ok := c.last[k]
	return v, ok
}

// put keeps a content that lies in an open pack's buffer at data, with the others
// of the pack; keepPack must follow when the pack is cut.
func (c *versionCache) put(k versionKey, data []byte, loc pageLoc, in *versions) {
	if c.limit > 0 {
		in.keys = append(in.keys, k)
		c.last[k] = version{loc: loc, data: data, in: in}
	}
}

// putCopy keeps a copy of a content: in the place of the one before, once that
// has been compressed. Whether it waits for that or not must not show in the tape.
func (c *versionCache) putCopy(k versionKey, data []byte, loc pageLoc) {
	if c.limit <= 0 {
		return
	}
	v := c.last[k]
	if v.in != nil && v.in.place != nil {
		if p := v.in.packed; p != nil {
			<-p
		}
		copy(v.data, data)
		c.order.MoveToBack(v.in.place)
		v.loc = loc
		c.last[k] = v
		return
	}
	c.single(k, data, loc)
}

// single keeps a copy of a content by itself.
func (c *versionCache) single(k versionKey, data []byte, loc pageLoc) {
	in := &versions{keys: []versionKey{k}, size: PageSize}
	in.place = c.order.PushBack(in)
	c.last[k] = version{loc: loc, data: append([]byte(nil), data...), in: in}
	c.used += PageSize
	c.shrink()
}

// keepPack takes over a cut pack's buffer: size bytes, with the contents put in.
// Where these are a small part of it they are copied, and the buffer is not kept,
// which the result tells.
func (c *versionCache) keepPack(in *versions, size int64, packed <-chan struct{}) (kept bool) {
	if len(in.keys) == 0 {
		return false
	}
	if int64(len(in.keys))*PageSize*4 < size*3 {
		for _, k := range in.keys {
			if v := c.last[k]; v.in == in {
				c.single(k, v.data, v.loc)
			}
		}
		return false
	}
	in.size, in.packed = size, packed
	in.place = c.order.PushBack(in)
	c.used += size
	c.shrink()
	return true
}

func (c *versionCache) shrink() {
	for c.used > c.limit {
		o := c.order.Remove(c.order.Front()).(*versions)
		c.used -= o.size
		for _, k := range o.keys {
			if c.last[k].in == o {
				delete(c.last, k)
			}
		}
	}
}
