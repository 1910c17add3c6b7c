package format

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFletcher(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	page := make([]byte, PageSize)
	for i := range page {
		page[i] = byte(r.Uint32())
	}
	var sum, sums uint64
	for i := 0; i < PageSize; i += 4 {
		sum += uint64(binary.LittleEndian.Uint32(page[i:]))
		sums += sum
	}
	a, b := fletcher(page)
	require.Equal(t, []uint64{sum, sums}, []uint64{a, b})

	want := make([]byte, 16)
	putSum(want, page)
	require.True(t, sumIs(want, page))
	change := func(what string, f func(p []byte)) {
		p := append([]byte(nil), page...)
		f(p)
		require.False(t, sumIs(want, p), what)
	}
	for range 2000 {
		bit := r.IntN(PageSize * 8)
		change("a bit", func(p []byte) { p[bit/8] ^= 1 << (bit % 8) })
	}
	for sector := 0; sector < PageSize; sector += 512 {
		change("a lost sector", func(p []byte) { clear(p[sector : sector+512]) })
		change("sectors exchanged", func(p []byte) {
			other := (sector + 512) % PageSize
			copy(p[sector:], page[other:other+512])
			copy(p[other:], page[sector:sector+512])
		})
	}
	// What a modulus would not tell.
	zero, ones := make([]byte, PageSize), make([]byte, PageSize)
	for i := range ones {
		ones[i] = 0xff
	}
	putSum(want, zero)
	require.False(t, sumIs(want, ones))
	putSum(want, ones)
	require.True(t, sumIs(want, ones), "the largest sums fit")
	require.Equal(t, uint64(1024*0xffffffff), binary.LittleEndian.Uint64(want))
}
