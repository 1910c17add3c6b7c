package format_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

func TestExtents(t *testing.T) {
	e := func(start, count uint64) format.Extent { return format.Extent{Start: start, Count: count} }
	holes := format.JoinExtents([]format.Extent{e(30, 5), e(5, 10), e(12, 8), e(100, 9), e(35, 0)})
	require.Equal(t, []format.Extent{e(5, 15), e(30, 5), e(100, 9)}, holes)
	require.Equal(t, []format.Extent{e(0, 5), e(20, 10), e(35, 65)}, e(0, 100).Without(holes))
	require.Empty(t, e(6, 3).Without(holes))
	require.Equal(t, []format.Extent{e(50, 10)}, e(50, 10).Without(holes))

	var run []format.Extent
	for _, n := range []uint64{3, 4, 5, 7, 9, 10} {
		run = format.AppendExtent(run, e(n, 1))
	}
	require.Equal(t, []format.Extent{e(3, 3), e(7, 1), e(9, 2)}, run)
}
