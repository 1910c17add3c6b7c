package phys_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/linux/phys"
	"github.com/xentape/xentape/format"
)

func TestIntersect(t *testing.T) {
	x := func(p ...uint64) (out []format.Extent) {
		for i := 0; i < len(p); i += 2 {
			out = append(out, format.Extent{Start: p[i], Count: p[i+1]})
		}
		return out
	}
	all := x(0, 10, 20, 10, 40, 1)
	require.Equal(t, all, phys.Intersect(all, nil))
	require.Equal(t, x(5, 5, 20, 2, 25, 5, 40, 1), phys.Intersect(all, x(5, 17, 25, 30)))
	require.Empty(t, phys.Intersect(all, x(10, 10, 30, 10)))
	require.Empty(t, phys.Intersect(all, []format.Extent{}))
	require.True(t, phys.Contains(all, 9))
	require.False(t, phys.Contains(all, 10))
	require.True(t, phys.Contains(all, 40))
	require.False(t, phys.Contains(nil, 0))
}
