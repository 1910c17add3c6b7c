package ext4

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
)

func TestShownIsWhatWasMappedAndUnwritten(t *testing.T) {
	old := []run{{logical: 0, physical: 100, count: 4}, {logical: 4, physical: 104, count: 6, unwritten: true}}
	for name, c := range map[string]struct {
		now  []run
		want []fs.Range
	}{
		"all":              {[]run{{logical: 0, physical: 100, count: 10}}, []fs.Range{{Off: 4096, Len: 6144}}},
		"the first of it":  {[]run{{logical: 0, physical: 100, count: 6}, {logical: 6, physical: 106, count: 4, unwritten: true}}, []fs.Range{{Off: 4096, Len: 2048}}},
		"nothing":          {old, nil},
		"with more":        {[]run{{logical: 0, physical: 100, count: 11}}, nil},
		"with less":        {[]run{{logical: 0, physical: 100, count: 9}}, nil},
		"elsewhere":        {[]run{{logical: 0, physical: 100, count: 4}, {logical: 4, physical: 204, count: 6}}, nil},
		"and zeroed":       {[]run{{logical: 0, physical: 100, count: 4, unwritten: true}, {logical: 4, physical: 104, count: 6}}, nil},
		"a punched hole":   {[]run{{logical: 4, physical: 104, count: 6, unwritten: true}}, nil},
		"a mapping undone": {nil, nil},
	} {
		require.Equal(t, c.want, shown(old, c.now, 1024), name)
	}
	require.Nil(t, shown(nil, nil, 1024))
}
