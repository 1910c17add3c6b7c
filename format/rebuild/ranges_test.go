package rebuild

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzRanges: the set is what a bit for each byte says, over the border of a unit.
func FuzzRanges(f *testing.F) {
	f.Add([]byte{0, 10, 40, 1, 20, 5, 0, 0, 255})
	f.Add([]byte{0, 200, 100, 1, 250, 20, 0, 100, 3, 1, 90, 200})
	f.Fuzz(func(t *testing.T, b []byte) {
		const at = rangesUnit - 256
		r, model := ranges{}, [1024]bool{}
		for ; len(b) >= 3; b = b[3:] {
			off, n := uint64(b[1])*2, uint64(b[2])
			if b[0]%2 == 0 {
				r.add(at+off, n)
			} else {
				r.remove(at+off, n)
			}
			for i := off; i < off+n; i++ {
				model[i] = b[0]%2 == 0
			}
		}
		want := uint64(0)
		for _, in := range model {
			if in {
				want++
			}
		}
		require.Equal(t, want, r.bytes())
		for unit, list := range r {
			for i, e := range list {
				require.NotZero(t, e.Count)
				require.Equal(t, unit, (e.Start+e.Count-1)/rangesUnit)
				require.True(t, i == 0 || list[i-1].Start+list[i-1].Count <= e.Start)
			}
		}
	})
}
