package network

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTableChains: connections whose hashes are equal are all found, and removed
// in any order.
func TestTableChains(t *testing.T) {
	const n = 5
	for first := range n {
		tab := newTable()
		var conns []*conn
		for i := range n {
			c := &conn{key: key{pa: uint16(i), pb: 80, proto: 6}}
			tab.add(c, 42) // as though all hashed alike
			conns = append(conns, c)
		}
		require.Equal(t, n, tab.len())
		for i := range n {
			victim := conns[(first+i)%n]
			tab.remove(victim)
			left := 0
			for c := range tab.all() {
				require.NotSame(t, victim, c)
				left++
			}
			require.Equal(t, n-1-i, left)
			require.Equal(t, left, tab.len())
		}
		require.Equal(t, make([]slot, len(tab.slots)), tab.slots)
	}
}

// TestTableFinds: what was added is found by its key and by nothing else.
func TestTableFinds(t *testing.T) {
	tab := newTable()
	keys := make([]key, 0, 2000)
	for i := range 1000 {
		k := key{pa: uint16(i), pb: uint16(i * 7), proto: 17, stream: 1}
		k.a[15] = byte(i)
		keys = append(keys, k)
		k.stream = 2
		keys = append(keys, k)
	}
	for i := range keys {
		c, hash := tab.find(&keys[i])
		require.Nil(t, c)
		tab.add(&conn{key: keys[i], firstRec: uint64(i)}, hash)
	}
	for i := range keys {
		c, _ := tab.find(&keys[i])
		require.NotNil(t, c)
		require.Equal(t, uint64(i), c.firstRec)
		again, _ := tab.find(&keys[i])
		require.Same(t, c, again)
	}
}
