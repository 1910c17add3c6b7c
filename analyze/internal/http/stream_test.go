package http

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// transcript writes down what a handler is told; bodies are joined.
type transcript struct {
	strings.Builder
	head, last bool
	inBody     bool
}

func (t *transcript) event(format string, args ...any) {
	if t.inBody {
		t.WriteString("]\n")
		t.inBody = false
	}
	fmt.Fprintf(t, format+"\n", args...)
}
func (t *transcript) Expected() bool                    { return true }
func (t *transcript) Request(m, u, v string)            { t.event("> %s %s %s", m, u, v) }
func (t *transcript) Status(v string, c int, r string)  { t.event("< %s %d %s", v, c, r) }
func (t *transcript) Field(n, v string)                 { t.event("%s: %s", n, v) }
func (t *transcript) HeaderDone() (bodiless, last bool) { return t.head, t.last }
func (t *transcript) BodyGap(n uint64)                  { t.event("gap %d", n) }
func (t *transcript) Done(complete bool)                { t.event("done %v", complete) }
func (t *transcript) Body(b []byte) {
	if len(b) == 0 {
		return
	}
	if !t.inBody {
		t.WriteString("[")
		t.inBody = true
	}
	t.Write(b)
}

const responses = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" +
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n5;x=y\r\npedia\r\n0\r\n\r\n" +
	"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n" +
	"HTTP/1.0 200 OK\r\n\r\nto the end"

func TestStream(t *testing.T) {
	var h transcript
	s := Stream{Responses: true}
	used, ok := s.Feed([]byte(responses), &h)
	require.True(t, ok)
	require.Equal(t, len(responses), used)
	s.End(&h)
	require.Equal(t, `< 1.1 200 OK
CONTENT-LENGTH: 5
[hello]
done true
< 1.1 200 OK
TRANSFER-ENCODING: chunked
[Wikipedia]
done true
< 1.1 304 Not Modified
CONTENT-LENGTH: 5
done true
< 1.0 200 OK
[to the end]
done true
`, h.String())
}

func TestGapWithinBody(t *testing.T) {
	var h transcript
	s := Stream{Responses: true}
	_, _ = s.Feed([]byte("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nab"), &h)
	require.True(t, s.Gap(4, &h))
	_, _ = s.Feed([]byte("gh"), &h)
	require.Contains(t, h.String(), "[ab]\ngap 4\n[gh]\ndone true\n")
	require.False(t, s.Gap(1, &h), "a hole in a start line loses the protocol")
}

func TestTunnelStopsAtHeader(t *testing.T) {
	h := transcript{last: true}
	s := Stream{Responses: true}
	in := "HTTP/1.1 200 Connection established\r\n\r\n\x16\x03\x01"
	used, ok := s.Feed([]byte(in), &h)
	require.True(t, ok)
	require.Equal(t, len(in)-3, used)
}

// FuzzStream: how the bytes are cut into pieces changes nothing.
func FuzzStream(f *testing.F) {
	f.Add([]byte(responses), uint8(3), true)
	f.Add([]byte("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n"), uint8(1), false)
	f.Fuzz(func(t *testing.T, b []byte, step uint8, resp bool) {
		if len(b) > MaxLine {
			return
		}
		var one, many transcript
		s := Stream{Responses: resp}
		_, ok := s.Feed(b, &one)
		p := Stream{Responses: resp}
		good := true
		for rest := b; len(rest) > 0 && good; {
			n := min(int(step)%7+1, len(rest))
			_, good = p.Feed(rest[:n], &many)
			rest = rest[n:]
		}
		require.Equal(t, ok, good)
		require.Equal(t, one.String(), many.String())
	})
}
