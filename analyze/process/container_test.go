package process

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Cgroups as the runtimes name them; those of podman, nspawn and crun were seen in a
// Debian 12 guest.
func TestContainerOfCgroup(t *testing.T) {
	id := "06200bfda04e9069027a1cca7dbe2411c586ff4b0525201bfa2439677e6f290f"
	other := strings.Repeat("0123456789abcdef", 4)
	for cgroup, want := range map[string]string{
		"/machine.slice/libpod-" + id + ".scope/container": id,
		"/machine.slice/libpod-conmon-" + id + ".scope":    "",
		"/libpod_parent/libpod-" + id:                      id,
		"/system.slice/docker-" + id + ".scope":            id,
		"/docker/" + id:                                    id,
		"/docker/" + other + "/docker/" + id:               id, // one within another
		"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/cri-containerd-" + id + ".scope": id,
		"/kubepods.slice/kubepods-pod1.slice/crio-" + id + ".scope":                                                id,
		`/machine.slice/machine-box\x2d1.scope/payload`:                                                            "box-1",
		"/system.slice/crun-plain1.scope/container":                                                                "plain1",
		"/lxc.payload.web/system.slice":                                                                            "web",
		"/lxc/web":                                                                                                 "web",
		"/system.slice/nsbox.service":                                                                              "",
		"/init.scope":                                                                                              "",
		"/":                                                                                                        "",
		"/" + id + id:                                                                                              "", // not a name of 64 digits
	} {
		require.Equal(t, want, container(cgroup, []int{5}, 7), cgroup)
	}
	require.Equal(t, "pidns:7", container("/", []int{5, 1}, 7))
}
