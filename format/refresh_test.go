package format

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRefreshFollowsAGrowingTape reads a tape byte length by byte length: every
// record comes once, in order, and the end is as of a finished tape.
func TestRefreshFollowsAGrowingTape(t *testing.T) {
	for _, every := range []int{1000, 9} {
		b := tinyTape(t, true, every)
		_, want, err := readEverything(t, b)
		require.NoError(t, err)
		var r *Reader
		seen := uint64(0)
		for n := 300; ; n = min(n+97, len(b)) {
			if r == nil {
				r, err = Open(bytes.NewReader(b), int64(n), ReaderOptions{})
				require.NoError(t, err)
			} else {
				require.NoError(t, r.Refresh(int64(n)))
			}
			if to := r.Settled(); to > seen {
				for rec, err := range r.Records(Query{FromSeq: seen + 1, ToSeq: to}) {
					require.NoError(t, err)
					require.Equal(t, seen+1, rec.Header().Seq)
					seen++
				}
				require.Equal(t, to, seen)
			}
			if n == len(b) {
				break
			}
		}
		require.Equal(t, uint64(len(want.records)), seen)
		require.True(t, r.Sealed())
		require.Empty(t, r.Damage())
		require.Len(t, r.Gaps(), 1)
		for k, p := range want.pages {
			s, err := r.Snapshot(uint32(k[0]))
			require.NoError(t, err)
			buf := make([]byte, PageSize, PageSize+1)
			st, err := s.ReadPage(k[1], buf)
			require.NoError(t, err)
			require.Equal(t, p, hashPage(buf, st))
		}
		require.Error(t, r.Refresh(10))
	}
}
