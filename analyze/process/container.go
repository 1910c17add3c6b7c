package process

import (
	"fmt"
	"regexp"
)

// Container runtimes name their cgroups: docker, containerd, cri-o and podman by
// 64 hexadecimal digits, lxc and systemd-nspawn by the container's name.
var (
	hexID    = regexp.MustCompile(`[0-9a-f]{64}`)
	namedCtr = regexp.MustCompile(`/(?:lxc(?:\.payload)?[/.]|machine\.slice/machine-)([^/]+?)(?:\.scope)?(?:/|$)`)
)

// container is what runtime and container a process belongs to, as far as its
// cgroup tells; "pidns:N" when only its own pid namespace sets it apart, ""
// when nothing does.
func container(cgroup string, nspid []int, pidNS uint64) string {
	if ids := hexID.FindAllString(cgroup, -1); ids != nil {
		return ids[len(ids)-1]
	}
	if m := namedCtr.FindStringSubmatch(cgroup); m != nil {
		return m[1]
	}
	if len(nspid) > 1 {
		return fmt.Sprintf("pidns:%d", pidNS)
	}
	return ""
}
