//go:build linux

package broker

import (
	"context"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture/fakexen"
	"github.com/xentape/xentape/capture/internal/domains"
	"github.com/xentape/xentape/capture/internal/hypercall"
	"github.com/xentape/xentape/capture/internal/xenabi"
	"github.com/xentape/xentape/capture/internal/xenstore"
)

// bench is a broker at work on an imaginary host with two guests, of which the
// recorder may have one.
type bench struct {
	xen    *fakexen.Host
	direct *hypercall.Xen // as the broker sees the host
	client *Client
	port   *Port
	x      *hypercall.Xen // as the recorder does
	paused bool
}

func start(t *testing.T, guests ...string) *bench {
	b := &bench{xen: fakexen.NewHost(fakexen.NewHVM(5, 0, 1, 2, 3, 700), fakexen.NewHVM(6, 0, 1))}
	store := fakexen.NewStore(map[string]string{
		"/local/domain/5/name": "web", "/libxl/5/type": "pvh", "/local/domain/6/name": "bank", "/local/domain/0/name": "Domain-0",
	})
	var err error
	b.direct, err = hypercall.New(b.xen, hypercall.Options{})
	require.NoError(t, err)
	ours, theirs, err := Pair()
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		done <- Serve(context.Background(), theirs, ServerConfig{
			Port: b.xen, Directory: &domains.Directory{Xen: b.direct, Store: xenstore.New(store.Dial())},
			Frames:    func(uint16) (*os.File, error) { return os.Open(os.DevNull) },
			Xenstored: func() (io.ReadWriteCloser, error) { return store.Dial(), nil },
			Guests:    guests, Paused: func(uint16) bool { return b.paused },
		})
	}()
	b.client = NewClient(ours)
	t.Cleanup(func() {
		require.NoError(t, b.client.Close())
		require.NoError(t, <-done)
	})
	b.port = b.client.Port(func(f *os.File) hypercall.Port {
		require.NoError(t, f.Close())
		return b.xen
	})
	b.x, err = hypercall.New(b.port, hypercall.Options{})
	require.NoError(t, err)
	return b
}

// What is asked through the broker has the answer it has without.
func TestCallsThroughTheBroker(t *testing.T) {
	b := start(t, "web")
	info, err := b.x.DomainInfo(5)
	require.NoError(t, err)
	want, err := b.direct.DomainInfo(5)
	require.NoError(t, err)
	require.Equal(t, want, info)
	require.Equal(t, b.direct.Identity(), b.x.Identity())
	types, err := b.x.PageTypes(5, []uint64{0, 1, 4, 700})
	require.NoError(t, err)
	require.Equal(t, []uint8{0, 0, xenabi.PageTypeInvalid, 0}, types)
	for _, ask := range []func(x *hypercall.Xen) (any, error){
		func(x *hypercall.Xen) (any, error) { return x.VCPUContext(5, 0) },
		func(x *hypercall.Xen) (any, error) { return x.HVMContext(5) },
		func(x *hypercall.Xen) (any, error) { return x.HVMParams(5) },
		func(x *hypercall.Xen) (any, error) { return x.TSCInfo(5) },
		func(x *hypercall.Xen) (any, error) { return x.MaximumGPFN(5) },
		func(x *hypercall.Xen) (any, error) { return x.Grants(5) },
		func(x *hypercall.Xen) (any, error) { return x.AddressSize(5) },
		func(x *hypercall.Xen) (any, error) { return x.PageTypeRange(5, 3, 40000) }, // in several bursts
	} {
		want, err := ask(b.direct)
		require.NoError(t, err)
		got, err := ask(b.x)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err = b.x.PageTypes(5, make([]uint64, xenabi.MaxPageFrameInfo+1))
	require.ErrorIs(t, err, syscall.E2BIG)
	require.NoError(t, b.x.EnableLogDirty(5))
	bitmap, err := b.port.Alloc(1024)
	require.NoError(t, err)
	_, err = b.x.DirtyBitmap(5, bitmap, 701, true)
	require.NoError(t, err)
	require.NoError(t, bitmap.Free())
	require.NoError(t, b.x.DisableLogDirty(5))
}

func TestOtherGuestsAreRefused(t *testing.T) {
	b := start(t, "web")
	for _, ask := range []func() error{
		func() error { _, err := b.x.VCPUContext(6, 0); return err },
		func() error { _, err := b.x.HVMContext(6); return err },
		func() error { _, err := b.x.HVMParams(6); return err },
		func() error { _, err := b.x.PageTypes(6, []uint64{0}); return err },
		func() error { _, err := b.x.PageTypeRange(6, 0, 5000); return err },
		func() error { _, err := b.x.MaximumGPFN(6); return err },
		func() error { _, err := b.x.MaximumGPFN(0); return err },
		func() error { _, err := b.x.Grants(6); return err },
		func() error { return b.x.EnableLogDirty(6) },
		func() error { _, err := b.port.Map(6, []uint64{0}); return err },
		func() error { _, err := b.port.MapResource(0, 1, 0, 0, 1); return err },
		func() error { _, err := b.client.OpenConfig(6); return err },
		func() error { _, err := b.client.Disk(6, 51712).Device(); return err },
		func() error { _, _, err := b.client.Vif(6, 0)(1 << 20); return err },
	} {
		require.ErrorIs(t, ask(), syscall.EPERM)
	}
	m, err := b.port.Map(5, []uint64{1})
	require.NoError(t, err)
	require.NoError(t, m.Unmap())
}

func TestCallsThatDoMoreThanLookAreRefused(t *testing.T) {
	b := start(t)
	require.ErrorIs(t, b.x.Pause(5), syscall.EPERM)
	require.ErrorIs(t, b.x.Unpause(5), syscall.EPERM)
	require.Zero(t, b.xen.State(5).Pauses)
	require.NoError(t, b.direct.Pause(5))
	b.paused = true // as the guard's mark says
	require.NoError(t, b.x.Unpause(5))
	require.Zero(t, b.xen.State(5).Pauses)
	for _, op := range []uint64{xenabi.HypercallSysctl, 0, 26, 32, 99} {
		_, err := b.port.Call(op, 0)
		require.ErrorIs(t, err, syscall.EPERM, "hypercall %d", op)
	}
	_, err := b.port.Call(xenabi.HypercallMemoryOp, 6, 0) // XENMEM_add_to_physmap
	require.ErrorIs(t, err, syscall.EPERM)
}

// A recorder that was taken over has nothing written but its own buffers.
func TestPointersElsewhereAreRefused(t *testing.T) {
	b := start(t)
	ctl, err := b.port.Alloc(xenabi.DomctlSize)
	require.NoError(t, err)
	small, err := b.port.Alloc(8)
	require.NoError(t, err)
	d := xenabi.Domctl(ctl.Bytes)
	for name, ptr := range map[string]uint64{
		"nowhere": 0xdead000, "inside a buffer": small.Addr + 4, "a buffer too small": small.Addr, "the call itself": ctl.Addr,
	} {
		d.Begin(xenabi.DomctlGetVCPUContext, 0x15, 5)
		d.Put64(xenabi.VCPUContextPtr, ptr)
		_, err := b.port.Call(xenabi.HypercallDomctl, ctl.Addr)
		require.ErrorIs(t, err, syscall.EPERM, name)
	}
	_, err = b.port.Call(xenabi.HypercallDomctl, small.Addr)
	require.ErrorIs(t, err, syscall.EPERM)
	_, err = b.port.Alloc(maxBuffer + 1)
	require.ErrorIs(t, err, syscall.EINVAL)
	// Shared memory cannot be cut short under the broker.
	r, files, err := b.client.request(request{Verb: verbBuffer, Bytes: 4096}, 1)
	require.NoError(t, err)
	require.NotZero(t, r.Addr)
	require.ErrorIs(t, files[0].Truncate(0), syscall.EPERM)
	require.NoError(t, files[0].Close())
}

func TestXenstoreIsForReading(t *testing.T) {
	b := start(t, "web")
	store := xenstore.New(b.client.Store())
	name, err := store.Read(t.Context(), "/local/domain/5/name")
	require.NoError(t, err)
	require.Equal(t, "web", name)
	changed := make(chan string, 8)
	require.NoError(t, store.Watch(t.Context(), "/local/domain/5", "t", changed))
	require.NotEmpty(t, <-changed)
	require.ErrorIs(t, store.Write(t.Context(), "/local/domain/5/name", "other"), syscall.EACCES)
	require.ErrorIs(t, store.Remove(t.Context(), "/local/domain/5"), syscall.EACCES)
	name, err = store.Read(t.Context(), "/local/domain/5/name")
	require.NoError(t, err)
	require.Equal(t, "web", name)
}

func TestRequestsThatAreWrong(t *testing.T) {
	b := start(t)
	for _, q := range []request{
		{Verb: "dance", Domain: 5}, {Verb: verbStop, Number: 3}, {Verb: verbLost, Number: 3},
		{Verb: verbDisk, Domain: 5, Number: 51712}, {Verb: verbVif, Domain: 5}, {Verb: verbBuffer, Bytes: -1},
	} {
		_, _, err := b.client.request(q, -1)
		require.Error(t, err, "%+v", q)
		require.NotErrorIs(t, err, errGone, "%+v", q)
	}
	_, err := b.x.DomainInfo(5)
	require.NoError(t, err, "the broker goes on")
}

// FuzzCalls: whatever a recorder asks, the guest it has not is not touched, nobody is
// paused, and the broker goes on.
func FuzzCalls(f *testing.F) {
	le := binary.LittleEndian
	for _, cmd := range []uint32{3, 4, 5, 10, 13, 33, 36, 59, 61} {
		ctl := make([]byte, xenabi.DomctlSize)
		xenabi.Domctl(ctl).Begin(cmd, 0x15, 6)
		f.Add(uint64(xenabi.HypercallDomctl), ctl)
	}
	f.Add(uint64(xenabi.HypercallMemoryOp), le.AppendUint64(nil, 14))
	f.Add(uint64(xenabi.HypercallGrantTableOp), []byte{5, 0, 0, 0, 1, 0, 0, 0})
	f.Add(uint64(xenabi.HypercallGrantTableOp), []byte{5, 0, 0, 0, 99, 0, 0, 0})
	f.Fuzz(func(t *testing.T, op uint64, b []byte) {
		h := fakexen.NewHost(fakexen.NewHVM(5, 0, 1), fakexen.NewHVM(6, 0, 1))
		x, err := hypercall.New(h, hypercall.Options{})
		require.NoError(t, err)
		s := &server{
			config:  ServerConfig{Port: h, Paused: func(uint16) bool { return false }, Directory: &domains.Directory{Xen: x}},
			buffers: buffers{port: h, all: map[uint64]*buffer{}}, known: map[uint16]bool{5: true, 6: false},
		}
		addr, shared, err := s.buffers.add(8192)
		require.NoError(t, err)
		defer func() {
			require.NoError(t, shared.Close())
			require.NoError(t, s.buffers.remove(addr))
		}()
		copy(s.buffers.at(addr).shared, b)
		for _, args := range [][maxArgs]uint64{{addr}, {6, addr, 1}, {14, addr}, {1, addr}, {2, addr, 1}} {
			_, _ = s.do(op, args, 3)
		}
		require.Zero(t, h.State(5).Pauses+h.State(6).Pauses)
		require.False(t, h.State(5).TableGrown || h.State(6).TableGrown)
		require.NoError(t, x.EnableLogDirty(6), "tracking of a guest that is not the recorder's was changed")
	})
}

func TestFilesOfAGuest(t *testing.T) {
	b := start(t, "web")
	_, err := b.client.OpenConfig(5) // there is none on this machine
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, filepath.Join("/var/lib/xen", "userdata-d.5."))
}
