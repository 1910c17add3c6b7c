package process

import (
	"fmt"
	"regexp"
	"strconv"
)

// Container runtimes name their cgroups: docker, containerd, cri-o and podman by
// 64 hexadecimal digits; lxc, systemd-nspawn, and crun and runc by themselves, by
// the container's name. systemd writes some characters as \x2d. The cgroup of
// podman's monitor has the digits too, and is outside.
var (
	hexID    = regexp.MustCompile(`(?:^|[^0-9a-f])(conmon-)?([0-9a-f]{64})(?:[^0-9a-f]|$)`)
	namedCtr = regexp.MustCompile(`/(?:lxc(?:\.payload)?[/.]|machine\.slice/machine-|(?:crun|runc)-)([^/]+?)(?:\.scope)?(?:/|$)`)
	escaped  = regexp.MustCompile(`\\x[0-9a-f]{2}`)
)

// container is what runtime and container a process belongs to, as far as its
// cgroup tells; "pidns:N" when only its own pid namespace sets it apart, ""
// when nothing does.
func container(cgroup string, nspid []int, pidNS uint64) string {
	if ids := hexID.FindAllStringSubmatch(cgroup, -1); ids != nil {
		if last := ids[len(ids)-1]; last[1] == "" {
			return last[2]
		}
		return ""
	}
	if m := namedCtr.FindStringSubmatch(cgroup); m != nil {
		return escaped.ReplaceAllStringFunc(m[1], func(s string) string {
			n, _ := strconv.ParseUint(s[2:], 16, 8)
			return string([]byte{byte(n)})
		})
	}
	if len(nspid) > 1 {
		return fmt.Sprintf("pidns:%d", pidNS)
	}
	return ""
}
