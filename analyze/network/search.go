package network

import "slices"

// identify looks for the protocol in the first bytes of the stream.
func (a *app) identify(c *conn, isOrig bool, b []byte) {
	d := &a.dir[side(isOrig)]
	if len(a.dir[0].prefix) == 0 && len(a.dir[1].prefix) == 0 {
		a.respond = !isOrig
	}
	kept := min(len(b), prefixBytes-len(d.prefix))
	if d.prefix == nil {
		d.prefix = c.shard.content.newPrefix()
	}
	d.prefix = append(d.prefix, b[:kept]...)
	d.lost = d.lost || kept == 0
	var found parser
	if kept > 0 { // else there is nothing new to tell by
		found = identify(c, a.dir[0].prefix, a.dir[1].prefix)
	}
	if found == nil {
		a.tries++
		if len(a.dir[0].prefix) >= prefixBytes && len(a.dir[1].prefix) >= prefixBytes ||
			d.lost && len(a.dir[side(!isOrig)].prefix) > 0 || a.tries >= maxTries {
			a.settle(c)
		}
		return
	}
	a.plain = nil
	first, second := a.dir[0].prefix, a.dir[1].prefix
	over := len(b) - kept
	a.open, a.dir[0].prefix, a.dir[1].prefix = false, nil, nil
	a.start(c, found, first, second)
	c.shard.content.reuse(first)
	c.shard.content.reuse(second)
	// Bytes of this call that the prefix had no room for.
	if over > 0 && len(a.parsers) > 0 && !d.lost {
		rest := b[len(b)-over:]
		a.each(func(p parser) bool { return p.data(c, isOrig, rest) })
	}
}

// settle ends the search.
func (a *app) settle(c *conn) {
	a.open = false
	for i := range a.dir {
		c.shard.content.reuse(a.dir[i].prefix)
		a.dir[i].prefix = nil
	}
}

// newPrefix returns an empty buffer for first bytes, nil when none is to spare.
func (t *content) newPrefix() []byte {
	n := len(t.prefixes)
	if n == 0 {
		return nil
	}
	b := t.prefixes[n-1]
	t.prefixes = t.prefixes[:n-1]
	return b
}

// reuse keeps the buffer of a prefix for another.
func (t *content) reuse(b []byte) {
	if b != nil {
		t.prefixes = append(t.prefixes, b[:0])
	}
}

// start runs a new parser over what was said before it was chosen.
func (a *app) start(c *conn, p parser, orig, resp []byte) {
	a.parsers = append(a.parsers, p)
	said := [2][]byte{orig, resp}
	first := 0
	if a.respond {
		first = 1
	}
	ok := true
	for _, i := range [2]int{first, 1 - first} {
		if ok && len(said[i]) > 0 {
			ok = p.data(c, i == 0, said[i])
		}
	}
	if !ok {
		a.parsers = slices.DeleteFunc(a.parsers, func(q parser) bool { return q == p })
	}
}

// reopen starts the search anew from here: what follows in this connection is
// another protocol (after CONNECT, STARTTLS).
func (a *app) reopen() { a.open, a.tries = true, 0 }
