package network

// named is the parser of a protocol that is recognized by how it begins, and not
// followed further.
type named struct{ service string }

func (p *named) data(c *conn, _ bool, _ []byte) bool {
	c.addService(p.service)
	return false
}
func (p *named) gap(*conn, bool, uint64) bool { return false }
func (p *named) eof(*conn, bool)              {}
func (p *named) finish(*conn)                 {}

// rdp is Remote Desktop: after its connection request and confirm TLS follows,
// mostly (MS-RDPBCGR §5.4.5.1).
type rdp struct{ named }

func (p *rdp) data(c *conn, _ bool, _ []byte) bool {
	c.confirm("rdp")
	c.app.reopen()
	return false
}

// announced is the parser of a connection that another one announced: all that
// is said in it, one way or the other, is a file.
type announced struct {
	service, source string
	file            [2]*fileSink
}

func (p *announced) data(c *conn, isOrig bool, b []byte) bool {
	c.addService(p.service)
	f := &p.file[side(isOrig)]
	if *f == nil {
		if p.service == "irc-dcc-data" && isOrig {
			return true // the receiver only counts what it has
		}
		*f = c.newFile(isOrig, p.source)
	}
	(*f).write(c, b)
	return true
}

func (p *announced) gap(c *conn, isOrig bool, n uint64) bool {
	if f := p.file[side(isOrig)]; f != nil {
		f.gap(min(n, maxFileGap))
	}
	return true
}

// maxFileGap bounds one hole in a file whose size nobody announced.
const maxFileGap = 1 << 32

func (p *announced) eof(_ *conn, isOrig bool) { p.close(side(isOrig), true) }

func (p *announced) finish(*conn) {
	p.close(0, false)
	p.close(1, false)
}

func (p *announced) close(i int, complete bool) {
	if p.file[i] != nil {
		p.file[i].close(complete)
		p.file[i] = nil
	}
}
