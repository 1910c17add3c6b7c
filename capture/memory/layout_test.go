package memory_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture/fakexen"
	"github.com/xentape/xentape/capture/internal/xenabi"
	"github.com/xentape/xentape/capture/memory"
)

// Asking about every number is most of the work: of a guest with less than 4 GiB nearly
// all are between its memory and the special pages that the toolstack puts on top.
func TestAskingEndsWhenEveryFrameIsFound(t *testing.T) {
	const most = 1 << 18
	gfns := append(sequence(0, 20_000), most-16, most-1)
	for name, elsewhere := range map[string]uint64{"all its own": 0, "some shared with other domains": 2} {
		t.Run(name, func(t *testing.T) {
			guest := fakexen.NewHVM(guestID, gfns...)
			guest.Elsewhere = elsewhere
			host := fakexen.NewHost(guest)
			r := record(t, host, nil)
			require.True(t, r.snapshot().Complete)
			if asked := host.State(guestID).Scanned; elsewhere == 0 {
				require.Less(t, asked, most/2)
			} else {
				require.Greater(t, asked, most, "the total does not say when all are found")
			}
			requireImage(t, r.reader(), 1, contents(host, gfns))
		})
	}
}

func TestSnapshotOfPVFollowsItsP2M(t *testing.T) {
	holes := []uint64{5, 600, 601}
	for name, hide := range map[string]func(*xenabi.P2MRoot){
		"frame lists": nil,
		"page tables": func(r *xenabi.P2MRoot) { r.FrameListList = xenabi.P2MInvalid },
	} {
		t.Run(name, func(t *testing.T) {
			host := fakexen.NewHost(fakexen.NewPV(guestID, 1500, holes...))
			pages := slices.DeleteFunc(sequence(0, 1500), func(n uint64) bool { return slices.Contains(holes, n) })
			want := contents(host, pages)
			if hide != nil {
				host.EditSharedInfo(guestID, hide)
			}
			r := record(t, host, nil)
			r.snapshot()
			rd := r.reader()
			requireImage(t, rd, 1, want)
			s, err := rd.Snapshot(1)
			require.NoError(t, err)
			p2m, ok := s.Attachment("xen/p2m")
			require.True(t, ok)
			require.Len(t, p2m, 8*1500)
			require.Equal(t, bytes.Repeat([]byte{0xff}, 8), p2m[8*5:8*6])
			require.Contains(t, s.Attachments(), "xen/shared-info")
		})
	}
}

func TestLyingPVGuestIsRefused(t *testing.T) {
	for name, lie := range map[string]struct {
		edit func(*xenabi.P2MRoot)
		says string
	}{
		"huge max_pfn":      {func(r *xenabi.P2MRoot) { r.MaxPFN = 1 << 40 }, "max_pfn 0x10000000000 is not within"},
		"no max_pfn":        {func(r *xenabi.P2MRoot) { r.MaxPFN = 0 }, "max_pfn 0x0 is not within"},
		"list of strangers": {func(r *xenabi.P2MRoot) { r.FrameListList = 0x123 }, "root of the frame list"},
		"no map at all":     {func(r *xenabi.P2MRoot) { r.FrameListList, r.CR3 = 0, 0 }, "neither a frame list nor a page table"},
		"bad page table":    {func(r *xenabi.P2MRoot) { r.FrameListList, r.VAddr = 0, 0 }, "no page table entry"},
	} {
		t.Run(name, func(t *testing.T) {
			host := fakexen.NewHost(fakexen.NewPV(guestID, 64))
			host.EditSharedInfo(guestID, lie.edit)
			r := record(t, host, nil)
			require.ErrorContains(t, r.src.Snapshot(t.Context()), lie.says)
			require.Contains(t, eventKinds(t, r.reader()), "snapshot-failed")
		})
	}
}

// Shared info and the grant table of a PVH guest are pages of Xen's own, which the type
// of a frame does not tell from none, and which the dirty log leaves out.
func TestPagesThatXenSharesWithTheGuest(t *testing.T) {
	for _, track := range []memory.Tracking{memory.TrackHash, memory.TrackLogDirty} {
		t.Run(string(track), func(t *testing.T) {
			guest := fakexen.NewHVM(guestID, 0, 1, 2, 16, 500, 700)
			guest.Shared = []uint64{16, 500}
			host := fakexen.NewHost(guest)
			r := record(t, host, func(c *memory.Config) { c.Tracking = track })
			require.Equal(t, uint64(6), r.snapshot().Changed)
			host.BackendWrite(guestID, 16, []byte("the time of day"))
			require.Equal(t, uint64(1), r.snapshot().Changed)
			rd := r.reader()
			want := map[uint64][]byte{}
			for _, n := range []uint64{0, 1, 2, 16, 500, 700} {
				want[n] = host.Page(guestID, n)
			}
			requireImage(t, rd, 2, want)
		})
	}
}
