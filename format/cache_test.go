package format

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCacheKeepsPartOfAScan: chunks asked for in the same order again and again, a
// quarter more than there is room for, are found in part; and there is never more
// kept than allowed.
func TestCacheKeepsPartOfAScan(t *testing.T) {
	const chunks, size, room = 100, 1 << 10, 80
	c := newBodyCache(room * size)
	hits := 0
	for scan := range 10 {
		for n := range uint64(chunks) {
			if p := c.get(n); p != nil {
				require.Equal(t, byte(n), p.data[0])
				hits += min(scan, 1)
				continue
			}
			p := &packBody{data: make([]byte, size)}
			p.data[0] = byte(n)
			c.put(n, p)
			require.LessOrEqual(t, c.used, c.limit)
			require.Same(t, p, c.get(n))
		}
	}
	require.Greater(t, hits, 9*chunks/2)
	require.Equal(t, int64(len(c.entries)*size), c.used)
	require.Len(t, c.place, len(c.entries))
}

// TestCacheOfOneChunk: one that is larger than allowed is kept alone.
func TestCacheOfOneChunk(t *testing.T) {
	c := newBodyCache(10)
	for n := range uint64(3) {
		c.put(n, &packBody{data: make([]byte, 100)})
		require.NotNil(t, c.get(n))
		require.Len(t, c.entries, 1)
	}
}
