package process_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/linux/phys"
	"github.com/xentape/xentape/analyze/process"
	"github.com/xentape/xentape/replay"
)

// unmapped is a snapshot of a PV guest that came without its frame table.
type unmapped struct{ replay.Memory }

func (u unmapped) Attachment(name string) ([]byte, bool) {
	if name == "xen/p2m" {
		return nil, false
	}
	return u.Memory.Attachment(name)
}

func (u unmapped) Attachments() []string {
	return slices.DeleteFunc(slices.Clone(u.Memory.Attachments()), func(n string) bool { return n == "xen/p2m" })
}

// What a real PV guest's own page tables say of its machine frames is what Xen
// said, and leads to the same processes.
func TestFramesFromGuest(t *testing.T) {
	m := shipped(t, "web-intrusion", 1)
	require.Equal(t, replay.GuestPV, m.Info().Guest)

	said, err := phys.New(m)
	require.NoError(t, err)
	rebuilt, err := phys.New(unmapped{m})
	require.NoError(t, err)
	require.Zero(t, said.Rebuilt())
	b, _ := m.Attachment("xen/p2m")
	t.Logf("%d of %d frames", rebuilt.Rebuilt(), len(b)/8)
	for mfn := range uint64(1 << 22) {
		if got, ok := rebuilt.FromMachine(mfn); ok {
			want, ok := said.FromMachine(mfn)
			require.True(t, ok, "machine frame %#x", mfn)
			require.Equal(t, want, got, "machine frame %#x", mfn)
		}
	}

	a, b2 := process.New(process.Options{}), process.New(process.Options{})
	require.NoError(t, a.Feed(m))
	require.NoError(t, b2.Feed(unmapped{m}))
	require.Equal(t, a.At(1), b2.At(1))
	require.Equal(t, "machine frames", b2.Summary().Symbols[0].Name)
}
