package files

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFastCommitOfANewFile: a fast commit tells no more of an inode than its fixed
// fields. What another file left behind them is not the new one's.
func TestFastCommitOfANewFile(t *testing.T) {
	dir := unpack(t, "reused")
	a, events := replayAppends(t, dir)
	require.Empty(t, a.Problems())
	var at []string
	for _, e := range events {
		if e.Op == OpSetxattr {
			at = append(at, e.Path)
		}
	}
	require.Subset(t, []string{"/old"}, at)
	f, err := a.State().Lookup("", "/new")
	require.NoError(t, err)
	xs, err := a.State().Xattrs(f)
	require.NoError(t, err)
	require.Empty(t, xs)
	calls := follow(allOps(t, dir))
	for _, e := range events {
		if e.Path != "/new" { // the last byte of it was written to have the rest synced
			require.True(t, calls.explain(&e), "%+v", e)
		}
	}
}

// TestWriteBeforeItsTimeWasSet: a time that was set dates no write. What was written
// before it lies between the time that the file had and the call that set it.
func TestWriteBeforeItsTimeWasSet(t *testing.T) {
	dir := unpack(t, "reused")
	_, events := replayAppends(t, dir)
	ops := readOps(t, dir)
	call := func(kind string) sysop {
		return ops[slices.IndexFunc(ops, func(o sysop) bool { return o.Op == kind && o.Path == "dated" })]
	}
	k := slices.IndexFunc(events, func(e Event) bool { return e.Op == OpWrite && e.Path == "/dated" && e.MTime == Time(1500000000e9) })
	require.GreaterOrEqual(t, k, 0)
	e := events[k]
	require.Equal(t, BasisChange, e.TimeBasis)
	require.LessOrEqual(t, int64(e.TimeLower), call("pwrite").T1)
	require.GreaterOrEqual(t, int64(e.TimeUpper), call("pwrite").T0)
	require.Less(t, call("append").T0-5e7, int64(e.TimeLower))
	require.Less(t, int64(e.TimeUpper), call("utime").T1+5e7)
}
