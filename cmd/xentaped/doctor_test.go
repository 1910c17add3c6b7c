package main

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture/fakexen"
	"github.com/xentape/xentape/capture/host"
	"github.com/xentape/xentape/corpus/hostkernel"
)

// patient is what doctor says of a guest with domain id 5 on an imaginary host.
func patient(t *testing.T, xen *fakexen.Host, nodes map[string]string) map[string]finding {
	t.Helper()
	tree := map[string]string{"/local/domain/5/name": "web", "/local/domain/0/name": "Domain-0"}
	for path, value := range nodes {
		tree[path] = value
	}
	h, err := host.On(xen, fakexen.NewStore(tree).Dial())
	require.NoError(t, err)
	defer h.Close()
	e := &examination{}
	require.NoError(t, e.guest(t.Context(), h, "web"))
	by := map[string]finding{}
	for _, f := range e.found {
		require.Equal(t, "web", f.Subject)
		require.NotContains(t, by, f.Check, "said twice")
		by[f.Check] = f
	}
	return by
}

// device is the xenstore nodes of a guest's device.
func device(kind string, number int, backend int, attrs ...string) map[string]string {
	node := fmt.Sprintf("/local/domain/%d/backend/%s/5/%d", backend, kind, number)
	nodes := map[string]string{fmt.Sprintf("/libxl/5/device/%s/%d/backend", kind, number): node}
	for i := 0; i < len(attrs); i += 2 {
		nodes[node+"/"+attrs[i]] = attrs[i+1]
	}
	return nodes
}

func merge(all ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range all {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

func TestDoctorSaysWhatIsRecordedAndWhatNot(t *testing.T) {
	got := patient(t, fakexen.NewHost(fakexen.NewHVM(5, 0, 1, 2, 3, 700)), merge(
		map[string]string{"/libxl/5/type": "pvh"},
		device("vbd", 51712, 3, "dev", "xvda", "type", "phy"),
		device("vbd", 51728, 0, "dev", "xvdb", "type", "qdisk", "params", "qcow2:/images/web"),
		device("vbd", 51744, 0, "dev", "xvdc", "type", "phy", "params", "/dev/vg/gone", "physical-device", "ff:fffff"),
		device("vif", 0, 0, "vifname", "lo", "mac", "00:16:3e:00:00:01", "bridge", "xenbr0"),
		device("vif", 1, 4, "mac", "00:16:3e:00:00:02"),
		device("vif", 2, 0, "mac", "00:16:3e:00:00:03"),
		device("console", 0, 0), device("pci", 0, 0),
	))
	for check, want := range map[string][2]string{
		"guest":                    {yes, "domain 5, pvh, 1 vCPUs, UUID "},
		"memory":                   {yes, "of 5 pages tried 0 cannot be read"},
		"snapshots of one instant": {yes, "the pause budget is 500ms"},
		"xvda":                     {no, "served by domain 3: record it there"},
		"xvdb":                     {no, `qcow2:/images/web, backend type qdisk: no block device: physical-device is "": what is attached as phy: can be recorded`},
		"xvdc":                     {no, "/dev/vg/gone, backend type phy: block device 255:1048575: "},
		"vif0":                     {yes, "packets of lo, MAC 00:16:3e:00:00:01, bridge xenbr0"},
		"vif1":                     {no, "served by domain 4: record it there"},
		"vif2":                     {no, "vif5.2: "},
		"pci":                      {no, "not by --track logdirty"},
		"recording":                {partly, "will hold: memory, snapshots of one instant, vif0; will not hold: xvda, xvdb, xvdc, vif1, vif2, pci"},
	} {
		require.Equal(t, want[0], got[check].State, check)
		require.Contains(t, got[check].Detail, want[1], check)
		delete(got, check)
	}
	require.Empty(t, got)
}

func TestDoctorSaysWhichPauseWouldDo(t *testing.T) {
	pvh := fakexen.NewHVM(5, 0, 1, 2)
	for name, c := range map[string]struct {
		guest *fakexen.Domain
		state string
		says  string
	}{
		"log-dirty":    {pvh, partly, "with --track logdirty only what changed is read in the pause"},
		"no log-dirty": {fakexen.NewPV(5, 8), no, "there is no log-dirty (PV guests need a Xen with shadow paging)"},
	} {
		xen := fakexen.NewHost(c.guest)
		xen.OnMap = func(uint16) { time.Sleep(520 * time.Millisecond) }
		got := patient(t, xen, nil)["snapshots of one instant"]
		require.Equal(t, c.state, got.State, name)
		require.Contains(t, got.Detail, c.says, name)
		require.Regexp(t, `unless --pause-budget [0-9ms]+ lets`, got.Detail, name)
	}
}

// A guest that looking at can crash is told of, and not looked at.
func TestDoctorLeavesPopulateOnDemandAlone(t *testing.T) {
	guest := fakexen.NewHVM(5, 0, 1, 2)
	guest.PoDEntries, guest.PoDFirst = 4, 3
	xen := fakexen.NewHost(guest)
	got := patient(t, xen, nil)
	require.Equal(t, no, got["memory"].State)
	require.Contains(t, got["memory"].Detail, "--allow-populate-on-demand")
	require.Equal(t, finding{"web", "recording", no, "will not hold: memory"}, got["recording"])
	require.Zero(t, xen.State(5).Scanned)
}

func TestDoctorAsksTheKernelForADisk(t *testing.T) {
	dev := hostkernel.RAMDisk(t, 8<<20)
	var st unix.Stat_t
	require.NoError(t, unix.Stat(dev, &st))
	got := patient(t, fakexen.NewHost(fakexen.NewHVM(5, 0)), device("vbd", 51712, 0,
		"dev", "xvda", "type", "phy", "params", "/dev/vg/web", "physical-device", fmt.Sprintf("%x:%x", unix.Major(st.Rdev), unix.Minor(st.Rdev))))["xvda"]
	require.Contains(t, got.Detail, "/dev/vg/web")
	if !hostkernel.ShowsBlocks(t) {
		require.NotEqual(t, yes, got.State)
		return
	}
	require.Equal(t, yes, got.State, got.Detail)
	require.Contains(t, got.Detail, filepath.Base(dev)+", 8 MiB: requests with their content")
}
