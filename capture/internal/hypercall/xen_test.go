package hypercall_test

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture/fakexen"
	"github.com/xentape/xentape/capture/internal/hypercall"
	"github.com/xentape/xentape/capture/internal/xenabi"
)

func TestDomctlVersionIsProbed(t *testing.T) {
	for v := uint32(xenabi.DomctlFirstKnown); v <= xenabi.DomctlLastKnown; v++ {
		h := fakexen.NewHost()
		h.DomctlVersion = v
		x, err := hypercall.New(h, hypercall.Options{})
		require.NoError(t, err)
		require.Equal(t, v, x.DomctlVersion())
		require.NotContains(t, xenabi.XenOfDomctl(v), "unknown")
	}
}

func TestUnknownDomctlVersionIsRefusedUnlessForced(t *testing.T) {
	h := fakexen.NewHost()
	h.DomctlVersion = xenabi.DomctlLastKnown + 1
	_, err := hypercall.New(h, hypercall.Options{})
	var unknown *hypercall.UnknownABIError
	require.ErrorAs(t, err, &unknown)
	require.Equal(t, h.DomctlVersion, unknown.Version)
	x, err := hypercall.New(h, hypercall.Options{ForceDomctl: true})
	require.NoError(t, err)
	require.Equal(t, h.DomctlVersion, x.DomctlVersion())

	h.DomctlVersion = 0x99
	_, err = hypercall.New(h, hypercall.Options{ForceDomctl: true})
	require.ErrorContains(t, err, "no domctl interface version")
}

func TestMissingDomainIsNotTheNextOne(t *testing.T) {
	x, err := hypercall.New(fakexen.NewHost(fakexen.NewHVM(9, 0)), hypercall.Options{})
	require.NoError(t, err)
	_, err = x.DomainInfo(5) // an old Xen answers about domain 9
	require.ErrorIs(t, err, hypercall.ErrNoDomain)
	info, err := x.DomainInfo(9)
	require.NoError(t, err)
	require.True(t, info.HVM())
	_, err = x.DomainInfo(10)
	require.ErrorIs(t, err, hypercall.ErrNoDomain)
}

func TestPauseCounts(t *testing.T) {
	x, err := hypercall.New(fakexen.NewHost(fakexen.NewHVM(9, 0)), hypercall.Options{})
	require.NoError(t, err)
	require.NoError(t, x.Pause(9))
	require.NoError(t, x.Pause(9))
	require.NoError(t, x.Unpause(9))
	info, err := x.DomainInfo(9)
	require.NoError(t, err)
	require.True(t, info.Paused())
	require.NoError(t, x.Unpause(9))
	require.ErrorIs(t, x.Unpause(9), syscall.EINVAL)
	for range 255 {
		require.NoError(t, x.Pause(9))
	}
	require.ErrorIs(t, x.Pause(9), syscall.EOVERFLOW)
}

func TestPageTypesOfTooManyFramesIsE2BIG(t *testing.T) {
	x, err := hypercall.New(fakexen.NewHost(fakexen.NewHVM(9, 3)), hypercall.Options{})
	require.NoError(t, err)
	types, err := x.PageTypes(9, []uint64{2, 3})
	require.NoError(t, err)
	require.Equal(t, []uint8{xenabi.PageTypeInvalid, xenabi.PageTypeNone}, types)
	_, err = x.PageTypes(9, make([]uint64, xenabi.MaxPageFrameInfo+1))
	require.ErrorIs(t, err, syscall.E2BIG)
	for _, n := range []uint64{0, 1, 4, 20000} {
		types, err := x.PageTypeRange(9, 1, n)
		require.NoError(t, err)
		require.Len(t, types, int(n))
		for i, got := range types {
			require.Equal(t, i+1 == 3, got == xenabi.PageTypeNone, "frame %d", i+1)
		}
	}
	require.NoError(t, x.Close())
}

func TestLogDirtyTraps(t *testing.T) {
	h := fakexen.NewHost(fakexen.NewHVM(9, 0, 1), fakexen.NewPV(10, 8))
	x, err := hypercall.New(h, hypercall.Options{})
	require.NoError(t, err)
	require.ErrorIs(t, x.EnableLogDirty(10), hypercall.ErrNoTracking)
	b, err := x.Port().Alloc(8)
	require.NoError(t, err)
	n, err := x.DirtyBitmap(9, b, 2, true)
	require.NoError(t, err, "reading works with tracking off")
	require.Zero(t, n)
	require.NoError(t, x.EnableLogDirty(9))
	require.ErrorIs(t, x.EnableLogDirty(9), hypercall.ErrTracking)
	h.GuestWrite(9, 1, []byte("x"))
	n, err = x.DirtyBitmap(9, b, 2, true)
	require.NoError(t, err)
	require.Equal(t, uint32(1), n)
	require.Equal(t, byte(2), b.Bytes[0])
	_, err = x.DirtyBitmap(9, b, 100, true)
	require.ErrorContains(t, err, "room")
	require.NoError(t, x.DisableLogDirty(9))
}

func TestRestrictedPortMapsOneDomainOnly(t *testing.T) {
	h := fakexen.NewHost(fakexen.NewHVM(9, 0), fakexen.NewHVM(10, 0))
	require.NoError(t, h.Restrict(9))
	_, err := hypercall.New(h, hypercall.Options{})
	require.ErrorIs(t, err, syscall.EPERM)
	m, err := h.Map(9, []uint64{0, 1})
	require.NoError(t, err)
	page := make([]byte, xenabi.PageSize)
	require.NoError(t, m.Copy(0, page))
	require.Contains(t, string(page), "frame 0x0")
	require.ErrorIs(t, m.Copy(1, page), syscall.EINVAL)
	require.NoError(t, m.Unmap())
	_, err = h.Map(10, []uint64{0})
	require.ErrorIs(t, err, syscall.EPERM)
}

func TestGrantsListWhatBackendsMayWrite(t *testing.T) {
	h := fakexen.NewHost(fakexen.NewHVM(9, 0, 1, 2))
	h.Grant(9, 2)
	h.Grant(9, 1)
	x, err := hypercall.New(h, hypercall.Options{})
	require.NoError(t, err)
	g, err := x.Grants(9)
	require.NoError(t, err)
	require.Len(t, g.Table, xenabi.PageSize)
	var frames []uint64
	g.Writable(func(f uint64) { frames = append(frames, f) })
	require.Equal(t, []uint64{2, 1}, frames)

	v2 := hypercall.Grants{Version: 2, Table: make([]byte, 3*xenabi.GrantEntryV2Size)}
	v2.Table[0] = xenabi.GrantPermitAccess
	v2.Table[8] = 77
	v2.Table[16] = xenabi.GrantPermitAccess | xenabi.GrantReadOnly
	v2.Table[32] = 3 // transitive: no frame of this guest
	frames = nil
	v2.Writable(func(f uint64) { frames = append(frames, f) })
	require.Equal(t, []uint64{77}, frames)
}

func TestIdentityLeavesOutWhatXenHides(t *testing.T) {
	x, err := hypercall.New(fakexen.NewHost(), hypercall.Options{})
	require.NoError(t, err)
	id := x.Identity()
	require.Equal(t, "4.17.7-imaginary", id.Version)
	require.Empty(t, id.Compiler)
	require.Empty(t, id.BuildID)
	require.Contains(t, id.CommandLine, "dom0_mem")
}

func TestHVMParamsSkipWhatReadingChanges(t *testing.T) {
	x, err := hypercall.New(fakexen.NewHost(fakexen.NewHVM(9, 0), fakexen.NewPV(10, 8)), hypercall.Options{})
	require.NoError(t, err)
	b, err := x.HVMParams(9)
	require.NoError(t, err)
	require.Len(t, b, 8*xenabi.HVMParams)
	for i := range xenabi.HVMParams {
		want := fmt.Sprintf("%02x10000000000000", i)
		if xenabi.HVMParamHasSideEffect(uint32(i)) || i == 35 {
			want = "ffffffffffffffff"
		}
		require.Equal(t, want, fmt.Sprintf("%x", b[8*i:8*i+8]), "parameter %d", i)
	}
	_, err = x.HVMParams(10)
	require.ErrorIs(t, err, syscall.EINVAL)
}
