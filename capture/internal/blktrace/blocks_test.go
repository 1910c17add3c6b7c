//go:build linux

package blktrace

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture/internal/bpf"
	"github.com/xentape/xentape/format"
)

// Records of different CPUs are put into order; a completion ends the requests that
// lie within it, as it does when the kernel merged them.
func TestRequestsAndTheirEnds(t *testing.T) {
	b := &Blocks{start: 2048, reads: true, skip: 99}
	b.held = []record{
		{time: 30, sector: 2048 + 8, bytes: 8192, action: actComplete, category: catWrite},
		{time: 11, sector: 2048 + 16, bytes: 4096, action: actQueue, category: catWrite, pid: 1},
		{time: 10, sector: 2048 + 8, bytes: 4096, action: actQueue, category: catWrite | catSync, pid: 1},
		{time: 12, sector: 2048, bytes: 512, action: actQueue, category: 1, pid: 99}, // our own read
		{time: 13, sector: 2048, bytes: 512, action: actQueue, category: 1, pid: 1},
		{time: 31, sector: 2048, bytes: 512, action: actComplete, category: 1, errno: 5},
		{time: 14, action: actQueue, category: catNotify},
		{time: 31 + int64(holdBack), sector: 4096, bytes: 512, action: actQueue, category: 1, pid: 1},
	}
	b.order(32 + int64(holdBack))
	write, read := uint8(format.DiskWrite), uint8(format.DiskRead)
	require.Equal(t, []bpf.Event{
		{Time: 10, ID: 1, Sector: 8, Bytes: 4096, Kind: bpf.Request, Op: write, Flags: bpf.Sync, PID: 1},
		{Time: 11, ID: 2, Sector: 16, Bytes: 4096, Kind: bpf.Request, Op: write, PID: 1},
		{Time: 13, ID: 3, Bytes: 512, Kind: bpf.Request, Op: read, PID: 1},
		{Time: 30, ID: 1, Sector: 8, Bytes: 4096, Kind: bpf.Completion, Op: write, PID: 1},
		{Time: 30, ID: 2, Sector: 16, Bytes: 4096, Kind: bpf.Completion, Op: write, PID: 1},
		{Time: 31, ID: 3, Bytes: 512, Kind: bpf.Completion, Op: read, PID: 1, Status: 10},
	}, b.ready)
	require.Len(t, b.held, 1, "a record too young may have an earlier one behind it")
	require.Empty(t, b.flying)
}
