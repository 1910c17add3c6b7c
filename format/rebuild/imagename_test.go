package rebuild

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestImageNames(t *testing.T) {
	for _, disk := range []string{"xvda", "a/b c%", ".."} {
		name := ImageName(disk, "20260102T030405.000Z.xtape")
		require.NotContains(t, name, "/")
		d, tape, ok := ParseImageName(name)
		require.True(t, ok)
		require.Equal(t, disk, d)
		require.Equal(t, "20260102T030405.000Z.xtape", tape)
	}
	require.Equal(t, "xvda.after-20260102T030405.000Z.img", ImageName("xvda", "20260102T030405.000Z.xtape"))
	for _, other := range []string{"", "xvda.img", "xvda.after-20260102", ".xvda.new", "%zz.after-1.img"} {
		_, _, ok := ParseImageName(other)
		require.False(t, ok, other)
	}
}
