package memory_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture/fakexen"
)

// What was read stays mapped for a while where that costs nothing, and not after the
// snapshot.
func TestUnmappingWaitsInAPVDom0(t *testing.T) {
	for name, c := range map[string]struct {
		dom0        *fakexen.Domain
		pages       int
		least, most int // mapped at once
	}{
		"PV":  {fakexen.NewPV(0, 4), 70_000, 60_000, 1<<16 + 2*1024},
		"PVH": {fakexen.NewHVM(0, sequence(0, 4)...), 8000, 1, 3 * 1024},
	} {
		t.Run(name, func(t *testing.T) {
			host := fakexen.NewHost(c.dom0, fakexen.NewPV(guestID, c.pages))
			mapped := 0
			host.OnMap = func(uint16) { mapped = max(mapped, host.State(guestID).Mapped) }
			r := record(t, host, nil)
			require.True(t, r.snapshot().Complete)
			require.GreaterOrEqual(t, mapped, c.least)
			require.LessOrEqual(t, mapped, c.most)
			require.Zero(t, host.State(guestID).Mapped)
			r.reader()
		})
	}
}
