package network

// plain follows a TCP connection until a protocol is found in it. One in which
// none is found carries bytes as they are, as nc and shell redirections do: each
// direction is then content of its own.
type plain struct {
	dir [2]*fileSink
}

// plainSource is File.Source of what was carried without a protocol.
const plainSource = "TCP"

func (p *plain) data(c *conn, isOrig bool, b []byte) {
	s := &p.dir[side(isOrig)]
	if *s == nil {
		*s = c.newSink(isOrig, plainSource)
	}
	if !(*s).ended {
		(*s).write(c, b)
	}
}

func (p *plain) gap(c *conn, isOrig bool, n uint64) {
	s := &p.dir[side(isOrig)]
	if *s == nil {
		*s = c.newSink(isOrig, plainSource)
	}
	(*s).gap(min(n, maxFileGap))
}

// eof: the direction was closed in order, nothing of it is to come.
func (p *plain) eof(isOrig bool) {
	if s := p.dir[side(isOrig)]; s != nil && !s.ended {
		s.close(true)
	}
}

// finish records both directions, if the connection never showed a protocol and
// was seen from its beginning.
func (p *plain) finish(c *conn) {
	for i, s := range p.dir {
		if s == nil {
			continue
		}
		if !s.ended {
			s.close(false)
		}
		if len(c.services) > 0 || c.tcp.partial {
			continue
		}
		s.ID, s.IsOrig, s.UID = c.id(), i == 0, c.uid()
		s.name(c)
		c.shard.content.streams = append(c.shard.content.streams, s.File)
	}
}

// standing gives the directions that have come to their end, of a connection that
// is still open.
func (p *plain) standing(c *conn) []*File {
	var all []*File
	for i, s := range p.dir {
		if s != nil && s.ended {
			f := *s.File
			f.ID, f.IsOrig, f.UID = c.id(), i == 0, c.uid()
			all = append(all, &f)
		}
	}
	return all
}
