package process_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/process"
)

// requireStatus compares what only recordings of the wider workload tell: state,
// capabilities, groups, root, the other namespaces, control group, and where
// each descriptor stands.
func requireStatus(t *testing.T, want *truth, got []process.Process) {
	byPID := map[int]process.Process{}
	for _, p := range got {
		byPID[p.PID] = p
	}
	for _, w := range want.Processes {
		if w.Status == "" {
			continue
		}
		p, at := byPID[w.PID], strconv.Itoa(w.PID)+" "+w.Comm
		requireState(t, w.State, p.State, at)
		if p.HeldBy != 0 {
			continue
		}
		require.Equal(t, text(w.Root), p.Root, at)
		require.Equal(t, text(w.NS.IPC), inode("ipc", p.Namespaces.IPC), at)
		require.Equal(t, text(w.NS.Cgroup), inode("cgroup", p.Namespaces.Cgroup), at)
		require.Equal(t, text(w.NS.Time), inode("time", p.Namespaces.Time), at)
		if w.NS.User != nil {
			require.Equal(t, *w.NS.User, inode("user", p.Credentials.UserNS), at)
		}
		require.Equal(t, cgroupOf(w.Cgroup), p.Cgroup, at)
		require.Equal(t, statusLines(w.Status), statusOf(&p), at)
		for _, f := range p.Files {
			info, ok := w.FDInfo[strconv.Itoa(f.FD)]
			if !ok {
				continue
			}
			pos, flags := fdinfo(t, info)
			require.Equal(t, pos, f.Pos, "%s: descriptor %d, %s", at, f.FD, f.Path)
			require.Equal(t, flags, f.Flags, "%s: descriptor %d, %s", at, f.FD, f.Path)
		}
	}
}

// requireState allows for a process that slept when /proc was read and ran when
// the machine stopped, and the reverse; the states that last are the same.
func requireState(t *testing.T, want, got, at string) {
	moving := "RSDI"
	if strings.Contains(moving, want) {
		require.Contains(t, moving, got, at)
		return
	}
	require.Equal(t, want, got, at)
}

var statusKeys = []string{"Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}

func statusLines(text string) []string {
	var out []string
	for _, l := range strings.Split(text, "\n") {
		if k, v, ok := strings.Cut(l, ":"); ok && slices.Contains(statusKeys, k) {
			out = append(out, k+": "+strings.TrimSpace(v))
		}
	}
	return out
}

func statusOf(p *process.Process) []string {
	c := p.Credentials
	out := []string{strings.TrimSuffix("Groups: "+strings.Join(decimal(c.Groups), " "), "")}
	for i, v := range []process.Address{c.Inheritable, c.Permitted, c.Effective, c.Bounding, c.Ambient} {
		out = append(out, fmt.Sprintf("%s: %016x", statusKeys[i+1], uint64(v)))
	}
	return out
}

// cgroupOf is the path in the unified hierarchy, or where that is the root, the
// longest of the others.
func cgroupOf(text string) string {
	path, other := "/", "/"
	for _, l := range strings.Split(strings.TrimSpace(text), "\n") {
		f := strings.SplitN(l, ":", 3)
		switch {
		case len(f) < 3:
		case f[0] == "0":
			path = f[2]
		case len(f[2]) > len(other):
			other = f[2]
		}
	}
	if path == "/" {
		return other
	}
	return path
}

// fdinfo reads position and flags; close-on-exec belongs to the descriptor, not
// to the open file.
func fdinfo(t *testing.T, text string) (pos int64, flags uint32) {
	const closeOnExec = 0o2000000
	for _, l := range strings.Split(text, "\n") {
		k, v, _ := strings.Cut(l, ":")
		switch v = strings.TrimSpace(v); k {
		case "pos":
			n, err := strconv.ParseInt(v, 10, 64)
			require.NoError(t, err)
			pos = n
		case "flags":
			n, err := strconv.ParseUint(v, 8, 32)
			require.NoError(t, err)
			flags = uint32(n) &^ closeOnExec
		}
	}
	return pos, flags
}

// requireMounts compares the mounts of every namespace that was told in full:
// those that the process which told can reach from its root.
func requireMounts(t *testing.T, want *truth, h process.Host) {
	ids := map[string]bool{}
	listed := map[string]string{}
	for _, m := range h.Mounts {
		ro := "rw"
		if m.ReadOnly {
			ro = "ro"
		}
		listed[fmt.Sprintf("mnt:[%d] %d", m.NS, m.ID)] = fmt.Sprintf("%d %d:%d %s %s %s %s", m.Parent, m.Major, m.Minor, m.Path, ro, m.FileSystem, m.Source)
	}
	for _, w := range want.Processes {
		if w.MountInfo == nil || w.NS.Mnt == nil || w.Root == nil || *w.Root != "/" || ids[*w.NS.Mnt] {
			continue
		}
		ids[*w.NS.Mnt] = true
		for _, l := range strings.Split(strings.TrimSpace(*w.MountInfo), "\n") {
			f := strings.Fields(l)
			i := slices.Index(f, "-")
			require.Greater(t, i, 5, l)
			ro := "rw"
			if strings.HasPrefix(f[5], "ro") || strings.HasPrefix(f[i+3], "ro") {
				ro = "ro"
			}
			line := fmt.Sprintf("%s %s %s %s %s %s", f[1], f[2], unescape(f[4]), ro, f[i+1], unescape(f[i+2]))
			require.Equal(t, line, listed[*w.NS.Mnt+" "+f[0]], "mount %s of %s", f[0], *w.NS.Mnt)
		}
	}
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
