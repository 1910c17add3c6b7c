package lifecycle_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/capture/fakexen"
	"github.com/xentape/xentape/capture/internal/domains"
	"github.com/xentape/xentape/capture/internal/hypercall"
	"github.com/xentape/xentape/capture/internal/xenstore"
	"github.com/xentape/xentape/capture/lifecycle"
	"github.com/xentape/xentape/format"
)

func nodes(domain uint16) map[string]string {
	p := func(f string) string { return fmt.Sprintf(f, domain) }
	return map[string]string{
		p("/local/domain/%d/name"): "web", p("/libxl/%d/type"): "pvh",
		p("/local/domain/0/backend/vbd/%d/51712/dev"):             "xvda",
		p("/local/domain/0/backend/vbd/%d/51712/physical-device"): "fd:0",
		p("/local/domain/0/backend/vbd/%d/51712/mode"):            "w",
		p("/local/domain/0/backend/vif/%d/0/mac"):                 "00:16:3e:00:00:01",
		p("/libxl/%d/device/vbd/51712/backend"):                   p("/local/domain/0/backend/vbd/%d/51712"),
	}
}

type rig struct {
	host    *fakexen.Host
	store   *fakexen.Store
	changes chan lifecycle.Change
	stop    func() *format.Reader
}

func start(t *testing.T, guest *fakexen.Domain) *rig {
	r := &rig{host: fakexen.NewHost(guest), store: fakexen.NewStore(nodes(guest.ID)), changes: make(chan lifecycle.Change, 10)}
	x, err := hypercall.New(r.host, hypercall.Options{})
	require.NoError(t, err)
	clock, err := capture.NewClock()
	require.NoError(t, err)
	var tape bytes.Buffer
	w, err := format.NewWriter(&tape, format.WriterOptions{Producer: "test", Start: clock.Anchor()})
	require.NoError(t, err)
	s := lifecycle.New(lifecycle.Config{
		Directory: &domains.Directory{Xen: x, Store: xenstore.New(r.store.Dial())},
		Clock:     clock, UUID: guest.UUID, Poll: 5 * time.Millisecond,
		OnChange: func(_ context.Context, c lifecycle.Change) { r.changes <- c },
	})
	require.NoError(t, s.Attach(t.Context(), w))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r.stop = func() *format.Reader {
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, w.Seal())
		rd, err := format.Open(bytes.NewReader(tape.Bytes()), int64(tape.Len()), format.ReaderOptions{})
		require.NoError(t, err)
		return rd
	}
	return r
}

func (r *rig) next(t *testing.T) lifecycle.Change {
	t.Helper()
	select {
	case c := <-r.changes:
		return c
	case <-time.After(10 * time.Second):
		require.Fail(t, "no change was seen")
		return lifecycle.Change{}
	}
}

// told are the events of a guest, each with its reason if it has one.
func told(t *testing.T, rd *format.Reader) (events []string) {
	for rec, err := range rd.Records(format.Query{Kinds: []format.StreamKind{format.StreamGuest}}) {
		require.NoError(t, err)
		e, ok := rec.(*format.Event)
		if !ok || e.Kind == "description-missing" {
			continue
		}
		text := e.Kind
		for _, a := range e.Attrs {
			if a.Name == "reason" {
				text += ": " + a.Value
			}
		}
		events = append(events, text)
	}
	return events
}

func TestDevicesComeAndGo(t *testing.T) {
	r := start(t, fakexen.NewHVM(5, 0))
	const disk = "/local/domain/0/backend/vbd/5/51728"
	r.store.Set(disk+"/dev", "xvdb") // the backend has not opened it yet
	r.store.Set(disk+"/physical-device", "fd:7")
	c := r.next(t)
	require.Equal(t, lifecycle.DiskAttached, c.Kind)
	require.Equal(t, "xvdb", c.Disk.Name)
	require.Equal(t, "fd:7", c.Disk.PhysicalDevice)
	r.store.Set("/local/domain/0/backend/vif/5/1/mac", "00:16:3e:00:00:02")
	c = r.next(t)
	require.Equal(t, lifecycle.VifAttached, c.Kind)
	require.Equal(t, "vif5.1", c.Vif.Interface)
	r.store.Delete(disk)
	require.Equal(t, lifecycle.DiskDetached, r.next(t).Kind)
	r.store.Delete("/local/domain/0/backend/vif/5/1")
	require.Equal(t, lifecycle.VifDetached, r.next(t).Kind)
	rd := r.stop()
	require.Equal(t, []string{"disk-attached", "vif-attached", "disk-detached", "vif-detached"}, told(t, rd))
}

func TestRebootIsANewEpochOfTheSameGuest(t *testing.T) {
	old := fakexen.NewHVM(5, 0)
	r := start(t, old)
	stranger := fakexen.NewHVM(6, 0) // another guest appears: nothing to this one
	r.host.Add(stranger)
	for p, v := range nodes(6) {
		r.store.Set(p, v)
	}
	r.host.Kill(5)
	anew := fakexen.NewHVM(7, 0)
	anew.UUID = old.UUID
	r.host.Add(anew)
	for p, v := range nodes(7) {
		r.store.Set(p, v)
	}
	r.store.Fire("@introduceDomain")
	c := r.next(t)
	if c.Kind == lifecycle.Gone { // seen between the two
		c = r.next(t)
	}
	require.Equal(t, lifecycle.Rebooted, c.Kind)
	require.Equal(t, uint16(7), c.Guest.Domain)
	require.Equal(t, uint32(1), c.Epoch)
	r.host.Remove(7)
	r.host.Remove(5)
	r.store.Fire("@releaseDomain")
	require.Equal(t, lifecycle.Gone, r.next(t).Kind)
	require.Contains(t, told(t, r.stop()), "domain-rebooted")
}

func TestCrashIsTold(t *testing.T) {
	d := fakexen.NewHVM(5, 0)
	d.PoDFirst, d.PoDEntries = 1, 1
	r := start(t, d)
	_, err := r.host.Map(5, []uint64{1}) // a touch without a pool behind it
	require.NoError(t, err)
	c := r.next(t)
	require.Equal(t, lifecycle.ShutDown, c.Kind)
	require.Equal(t, []string{"domain-shutdown: crash"}, told(t, r.stop()))
}

// A guest that is saved, or migrates, suspends itself first. What is restored here goes
// on as another domain.
func TestSuspendedGuestGoesOn(t *testing.T) {
	old := fakexen.NewHVM(5, 0)
	r := start(t, old)
	r.host.Suspend(5)
	require.Equal(t, lifecycle.ShutDown, r.next(t).Kind)
	r.host.Resume(5) // as after xl save -c
	require.Equal(t, lifecycle.Continued, r.next(t).Kind)
	r.host.Suspend(5)
	require.Equal(t, lifecycle.ShutDown, r.next(t).Kind)
	r.host.Remove(5)
	r.store.Fire("@releaseDomain")
	require.Equal(t, lifecycle.Gone, r.next(t).Kind)
	anew := fakexen.NewHVM(7, 0)
	anew.UUID, anew.Building = old.UUID, true
	r.host.Add(anew)
	for p, v := range nodes(7) {
		r.store.Set(p, v)
	}
	r.store.Fire("@introduceDomain")
	c := r.next(t)
	require.Equal(t, lifecycle.Resumed, c.Kind)
	require.Equal(t, uint16(7), c.Guest.Domain)
	require.Equal(t, uint32(1), c.Epoch)
	require.Empty(t, r.changes, "it is being restored")
	r.host.Built(7)
	require.Equal(t, lifecycle.Started, r.next(t).Kind)
	require.Equal(t, []string{
		"domain-shutdown: suspend", "domain-continued",
		"domain-shutdown: suspend", "domain-gone: suspended: saved, or migrated away", "domain-resumed", "domain-started",
	}, told(t, r.stop()))
}

// A guest that migrates within this host is two domains for a while, of one UUID: the
// old one until it has suspended itself, then the new one, also before that runs.
func TestMigratingGuestIsTheDomainThatRuns(t *testing.T) {
	old := fakexen.NewHVM(5, 0)
	r := start(t, old)
	arrives := func(id uint16) {
		anew := fakexen.NewHVM(id, 0)
		anew.UUID, anew.Building = old.UUID, true
		r.host.Add(anew)
		for p, v := range nodes(id) {
			r.store.Set(p, v)
		}
		r.store.Fire("@introduceDomain")
	}
	arrives(7)
	time.Sleep(50 * time.Millisecond)
	require.Empty(t, r.changes, "the old one runs")
	r.host.Remove(7) // the migration failed
	r.store.Fire("@releaseDomain")
	arrives(8)
	r.host.Suspend(5)
	r.store.Fire("@releaseDomain") // xenstored tells of shutdowns so, too
	require.Equal(t, lifecycle.ShutDown, r.next(t).Kind)
	c := r.next(t)
	require.Equal(t, lifecycle.Resumed, c.Kind)
	require.Equal(t, uint16(8), c.Guest.Domain)
	r.host.Built(8)
	require.Equal(t, lifecycle.Started, r.next(t).Kind)
	r.host.Remove(5)
	r.store.Fire("@releaseDomain")
	require.Equal(t, []string{"domain-shutdown: suspend", "domain-resumed", "domain-started"}, told(t, r.stop()))
}

func TestStreamSaysWhoTheGuestIs(t *testing.T) {
	guest := fakexen.NewHVM(5, 0)
	rd := start(t, guest).stop()
	d := rd.Streams()[0]
	require.Equal(t, format.StreamGuest, d.Kind)
	require.Equal(t, guest.UUID, d.Domain)
	require.Contains(t, d.Attrs, format.Attr{Name: "guest-name", Value: "web"})
	require.Contains(t, d.Attrs, format.Attr{Name: "guest-type", Value: "pvh"})
	require.Contains(t, d.Attrs, format.Attr{Name: "domctl-version", Value: "0x15"})
	var tree string
	for rec, err := range rd.Records(format.Query{}) {
		require.NoError(t, err)
		if a, ok := rec.(*format.Attachment); ok && a.Name == "xenstore" {
			tree = string(a.Data)
		}
	}
	require.Contains(t, tree, "/local/domain/0/backend/vbd/5/51712/dev = \"xvda\"\n")
}

func TestMissingGuestIsRefused(t *testing.T) {
	x, err := hypercall.New(fakexen.NewHost(), hypercall.Options{})
	require.NoError(t, err)
	store := fakexen.NewStore(map[string]string{"/local/domain/0/name": "Domain-0"})
	s := lifecycle.New(lifecycle.Config{Directory: &domains.Directory{Xen: x, Store: xenstore.New(store.Dial())}, UUID: [16]byte{9}})
	require.ErrorIs(t, s.Attach(t.Context(), nil), hypercall.ErrNoDomain)
}
