package fs

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestShownAndZeroed(t *testing.T) {
	const size = 10000
	data := func(logical, physical, length uint64) Extent {
		return Extent{Logical: logical, Physical: physical, Length: length}
	}
	unwritten := func(logical, physical, length uint64) Extent {
		return Extent{Logical: logical, Physical: physical, Length: length, State: ExtentUnwritten}
	}
	old := []Extent{data(0, 50000, 4096), unwritten(4096, 54096, 8192)}
	for name, c := range map[string]struct {
		now           []Extent
		shown, zeroed []Range
	}{
		"all":                      {now: []Extent{data(0, 50000, 12288)}, shown: []Range{{4096, size - 4096}}},
		"the first of it":          {now: []Extent{data(0, 50000, 6144), unwritten(6144, 56144, 6144)}, shown: []Range{{4096, 2048}}},
		"and what is beyond goes":  {now: []Extent{data(0, 50000, 10240)}, shown: []Range{{4096, size - 4096}}},
		"nothing":                  {now: old},
		"other blocks":             {now: []Extent{data(0, 50000, 4096), data(4096, 90000, 8192)}},
		"the data is other blocks": {now: []Extent{data(0, 90000, 4096), unwritten(4096, 54096, 8192)}},
		"and a range zeroed":       {now: []Extent{unwritten(0, 50000, 1024), data(1024, 51024, 11264)}, shown: []Range{{4096, size - 4096}}, zeroed: []Range{{0, 1024}}},
		"a hole punched":           {now: []Extent{data(0, 50000, 1024), data(2048, 52048, 2048), unwritten(4096, 54096, 8192)}, zeroed: []Range{{1024, 1024}}},
		"everything":               {zeroed: []Range{{0, 4096}}},
		"lost from sight":          {now: []Extent{{Logical: 0, Length: 12288, State: ExtentUnknown}}},
		"an empty extent":          {now: []Extent{data(0, 50000, 0), data(0, 50000, 4096), unwritten(4096, 54096, 8192)}},
	} {
		require.Equal(t, c.shown, Shown(old, c.now, size), name)
		require.Equal(t, c.zeroed, Zeroed(old, c.now, size), name)
	}
	require.Nil(t, Shown(nil, nil, size))
	require.Nil(t, Zeroed(old, nil, 0))
}
