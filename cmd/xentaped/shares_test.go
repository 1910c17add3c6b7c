package main

import (
	"math"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture/fakexen"
	"github.com/xentape/xentape/format"
)

// The service records a guest whose whole memory is another at each snapshot: what is
// resident stays within the limit. (A quarter more is resident without one.)
func TestResidentMemoryStaysWithinItsLimit(t *testing.T) {
	const pages, limit = 6 << 10, 160 << 20
	gfns := make([]uint64, pages)
	for i := range gfns {
		gfns[i] = uint64(i)
	}
	s := startServiceFor(t, fakexen.NewHVM(5, gfns...), nil, func(c *config) {
		c.Segment, c.Limits.Memory = time.Hour, limit
	})
	t.Cleanup(func() { debug.SetMemoryLimit(math.MaxInt64) })
	debug.FreeOSMemory() // what other tests left
	s.set.shares.keep()
	require.Eventually(t, func() bool { return s.set.recorded() == 1 }, 30*time.Second, 10*time.Millisecond)
	draw := rand.NewChaCha8([32]byte{1})
	page := make([]byte, format.PageSize)
	var most int64
	for range 10 {
		for _, gfn := range gfns {
			_, _ = draw.Read(page) // of ChaCha8 without error
			s.xen.GuestWrite(5, gfn, page)
		}
		f := s.set.flying()[0]
		require.Eventually(t, func() bool { return f.handle(t.Context(), command{Verb: "snapshot"}).Error == "" }, 30*time.Second, 10*time.Millisecond)
		_, resident := usageOf(os.Getpid())
		most = max(most, resident)
	}
	s.stop()
	t.Logf("at most %d bytes resident", most)
	require.LessOrEqual(t, most, int64(limit))
	require.Empty(t, s.told.trouble())
}

func TestRingsAreSharedOut(t *testing.T) {
	s := newShares(192 << 20)
	all := s.rings
	var back []func()
	var sum int64
	for {
		got, give, err := s.ring(16<<20, diskMappings)
		if err != nil {
			break
		}
		require.GreaterOrEqual(t, got, leastRing)
		require.Zero(t, got&(got-1), "the kernel takes powers of two only")
		sum += int64(got) * diskMappings
		back = append(back, give, give)
	}
	require.LessOrEqual(t, sum, all)
	require.Greater(t, len(back)/2, 16, "a ring for each disk of two segments of a guest")
	require.Equal(t, all, sum+s.rings)
	for _, give := range back { // each twice
		give()
	}
	require.Equal(t, all, s.rings)

	var none *shares
	got, give, err := none.ring(16<<20, diskMappings)
	require.NoError(t, err)
	require.Equal(t, 16<<20, got)
	give()
	require.Zero(t, none.tape(3))
}

func TestNoMoreGuestsThanMemoryIsFor(t *testing.T) {
	s := startServiceOf(t, map[string]string{}, func(c *config) { c.Limits.Memory = leastMemory })
	require.Equal(t, 1, s.set.shares.guests())
	s.xen.Add(fakexen.NewHVM(6, 0, 1))
	for name, value := range map[string]string{"/local/domain/6/name": "db", "/libxl/6/type": "pvh"} {
		s.store.Set(name, value)
	}
	require.Eventually(t, func() bool { return len(s.told.trouble()) > 0 }, 30*time.Second, 10*time.Millisecond)
	require.Equal(t, 1, s.set.recorded())
	s.stop()
	require.Regexp(t, "is not recorded: limits: memory is enough for 1 guests", s.told.trouble()[0])
	require.Len(t, s.told.trouble(), 1, "it is said once")
}
