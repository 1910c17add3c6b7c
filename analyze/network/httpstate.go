package network

import "slices"

// Bounds of what is remembered of requests not yet answered.
const (
	maxPendingHTTP = 100  // records (Zeek's HTTP::max_pending_requests)
	maxMethods     = 1024 // methods
)

// httpState pairs requests with responses, as Zeek's HTTP script does: both are
// numbered, and a record is that of its number until the response is over. What
// comes late, the end of a request already answered, begins another record.
type httpState struct {
	pending []numberedHTTP
	current [2]uint64 // number of the latest request, of the latest response
	depth   uint64
	methods []string // of requests without a final response
}

type numberedHTTP struct {
	number uint64
	*HTTP
}

func (t *httpState) find(n uint64) int {
	return slices.IndexFunc(t.pending, func(h numberedHTTP) bool { return h.number == n })
}

// record is the record of the direction's current message, a new one if there
// is none.
func (t *httpState) record(c *conn, isOrig bool) *HTTP {
	n := t.current[side(isOrig)]
	if i := t.find(n); i >= 0 {
		return t.pending[i].HTTP
	}
	t.depth++
	h := &HTTP{Header: c.header(), TransDepth: t.depth}
	t.pending = append(t.pending, numberedHTTP{n, h})
	return h
}

// request begins the record of a request.
func (t *httpState) request(c *conn, method string) *HTTP {
	orig, resp := &t.current[0], &t.current[1]
	*orig = max(*orig, *resp)
	if len(t.pending) > maxPendingHTTP { // the answers are not seen
		*resp = max(*resp, 1)
		for ; *resp < *orig; *resp++ {
			t.write(c, *resp)
		}
	}
	*orig++
	if len(t.methods) >= maxMethods {
		t.methods = t.methods[1:]
	}
	t.methods = append(t.methods, method)
	return t.record(c, true)
}

// response returns the record of the request that a response answers.
func (t *httpState) response(c *conn) *HTTP {
	i := t.find(t.current[1])
	if i < 0 || t.pending[i].StatusCode != nil && !informational(t.pending[i].StatusCode) {
		t.current[1]++
	}
	return t.record(c, false)
}

func informational(code *uint64) bool { return code != nil && *code/100 == 1 }

// popMethod forgets the oldest request, which now has its final response.
func (t *httpState) popMethod() {
	if len(t.methods) > 0 {
		t.methods = t.methods[1:]
	}
}

func (t *httpState) write(c *conn, n uint64) {
	if i := t.find(n); i >= 0 {
		c.addHTTP(t.pending[i].HTTP)
		t.pending = slices.Delete(t.pending, i, i+1)
	}
}

// flush writes what never was complete.
func (t *httpState) flush(c *conn) {
	for _, h := range t.pending {
		if h.number > 0 { // of a response without request nothing was begun
			c.addHTTP(h.HTTP)
		}
	}
	t.pending = nil
}

func (c *conn) addHTTP(h *HTTP) {
	c.app.http = append(c.app.http, h)
	c.shard.content.http = append(c.shard.content.http, h)
}
