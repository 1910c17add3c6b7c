package types_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/linux/types"
)

const isf = `{"metadata":{},"base_types":{"int":{"size":4,"signed":true},"char":{"size":1,"signed":true}},
"enums":{"e":{"size":4}},
"user_types":{
 "task":{"size":32,"kind":"struct","fields":{
  "pid":{"offset":0,"type":{"kind":"base","name":"int"}},
  "flag":{"offset":4,"type":{"kind":"bitfield","bit_length":1,"bit_position":3,"type":{"kind":"base","name":"int"}}},
  "comm":{"offset":8,"type":{"kind":"array","count":16,"subtype":{"kind":"base","name":"char"}}},
  "unnamed_field_0":{"offset":24,"anonymous":true,"type":{"kind":"union","name":"u"}}}},
 "u":{"size":8,"kind":"union","fields":{"next":{"offset":0,"type":{"kind":"pointer","subtype":{"kind":"struct","name":"task"}}},
  "kind":{"offset":0,"type":{"kind":"enum","name":"e"}}}}},
"symbols":{"linux_banner":{"address":4096,"constant_data":"TGludXggdmVyc2lvbiA5CgA="},"_stext":{"address":8192}}}`

func TestISFFields(t *testing.T) {
	x, err := types.ParseISF([]byte(isf))
	require.NoError(t, err)
	require.Equal(t, "Linux version 9\n", x.Banner())
	a, ok := x.Symbol("_stext")
	require.True(t, ok)
	require.EqualValues(t, 8192, a)
	_, ok = x.Symbol("none")
	require.False(t, ok)
	s := x.Struct("task")
	require.EqualValues(t, 32, s.Size)
	require.EqualValues(t, 24, s.Field("next").Offset)
	require.True(t, s.Field("next").Pointer)
	require.EqualValues(t, 4, s.Field("kind").Size)
	require.EqualValues(t, 16, s.Field("comm").Size)
	require.True(t, s.Field("pid").Signed)
	require.EqualValues(t, 3, s.Field("flag").BitShift)
	require.EqualValues(t, 1, s.Field("flag").BitSize)
	require.Nil(t, s.Field("unnamed_field_0"))
	require.Nil(t, x.Struct("missing"))

	_, err = types.ParseISF([]byte(`{"symbols":{}}`))
	require.ErrorContains(t, err, "user_types")
	_, err = types.ParseISF([]byte(`{`))
	require.Error(t, err)
}

// FuzzISF: of whatever parses, every member of every structure can be asked for.
func FuzzISF(f *testing.F) {
	f.Add([]byte(isf))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := types.ParseISF(b)
		if err != nil {
			return
		}
		x.Banner()
		var d struct {
			User map[string]json.RawMessage `json:"user_types"`
		}
		require.NoError(t, json.Unmarshal(b, &d))
		for name := range d.User {
			s := x.Struct(name)
			if s == nil {
				continue
			}
			for _, m := range s.Members {
				if p := s.Field(m.Name); p != nil {
					require.Less(t, p.BitShift, uint64(8))
				}
				s.Field(m.Name + ".x.y.0.1")
			}
		}
	})
}
