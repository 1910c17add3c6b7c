package memory_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/capture/fakexen"
	"github.com/xentape/xentape/capture/internal/hypercall"
	"github.com/xentape/xentape/capture/memory"
	"github.com/xentape/xentape/format"
)

// BenchmarkFirstSnapshot is a full snapshot of a guest of 64 MiB, an eighth of it
// zeros, onto a tape.
func BenchmarkFirstSnapshot(b *testing.B) {
	var gfns []uint64
	for n := range uint64(16 << 10) {
		gfns = append(gfns, n)
	}
	host := fakexen.NewHost(fakexen.NewHVM(guestID, gfns...))
	x, err := hypercall.New(host, hypercall.Options{})
	require.NoError(b, err)
	clock, err := capture.NewClock()
	require.NoError(b, err)
	b.SetBytes(int64(len(gfns)) * format.PageSize)
	for b.Loop() {
		w, err := format.NewWriter(io.Discard, format.WriterOptions{Producer: "test", Start: clock.Anchor()})
		require.NoError(b, err)
		src := memory.New(memory.Config{
			Xen: x, Pauser: &directPauser{x: x, tracked: map[uint16]bool{}}, Clock: clock, Domain: guestID,
			PauseBudget: time.Minute, Savers: func() bool { return false }, Automatic: 1,
		})
		require.NoError(b, src.Attach(b.Context(), w))
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() { done <- src.Run(ctx) }()
		require.Eventually(b, func() bool { return src.Stats().Snapshots == 1 }, time.Minute, time.Millisecond)
		cancel()
		require.NoError(b, <-done)
		require.NoError(b, w.Seal())
	}
}
