package process

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/xentape/xentape/analyze/internal/linux/objects"
)

// The views of modules. Every live module is in all four.
const (
	ModuleList View = "module-list" // the list behind /proc/modules
	ModuleKset View = "kset"        // /sys/module
	ModuleTree View = "mod-tree"    // the tree that finds whose code an address is in
	ModuleScan View = "module-scan" // the space modules are loaded to, searched
)

// Module is a kernel module.
type Module struct {
	Name    string   `json:"name"`
	Size    uint64   `json:"size"`
	Refs    int64    `json:"refs"`
	State   string   `json:"state"`
	Base    Address  `json:"base"`
	Taints  Address  `json:"taints"`
	Version string   `json:"srcversion,omitempty"`
	UsedBy  []string `json:"used_by"`
	Address Address  `json:"module_address"`
	Views   []View   `json:"views"`
	Grade   Grade    `json:"grade"`
}

// Mount is a mount of a mount namespace.
type Mount struct {
	NS         uint64 `json:"mnt_ns"`
	ID         int    `json:"id"`
	Parent     int    `json:"parent"`
	Major      uint32 `json:"major"`
	Minor      uint32 `json:"minor"`
	Path       string `json:"path"`
	Source     string `json:"source"`
	FileSystem string `json:"fs"`
	ReadOnly   bool   `json:"read_only"`
}

// LogLine is one record of the kernel's log.
type LogLine struct {
	Seq   uint64 `json:"seq"`
	Time  uint64 `json:"time"` // nanoseconds since the guest booted
	Level int    `json:"level"`
	Text  string `json:"text"`
}

// Host is what a snapshot says of the guest as a whole.
type Host struct {
	Snapshot int       `json:"snapshot"`
	Kernel   string    `json:"kernel"`
	Hostname string    `json:"hostname"`
	Booted   string    `json:"booted"`     // by its own wall clock, RFC 3339; "" when that cannot be read
	Clock    string    `json:"guest_time"` // its wall clock at the snapshot
	Forks    uint64    `json:"total_forks"`
	Tasks    int       `json:"nr_threads"`
	NextPID  uint64    `json:"next_pid"`
	Modules  []Module  `json:"modules"`
	Mounts   []Mount   `json:"mounts"`
	Log      []LogLine `json:"log"`
}

// maxNamespaces bounds the mount namespaces whose mounts are listed.
const maxNamespaces = 4096

// Host describes the guest at a snapshot; false when it could not be read.
func (a *Analyzer) Host(snapshot int) (Host, bool) {
	for _, s := range a.snaps {
		if s.number == snapshot && s.host != nil {
			return *s.host, true
		}
	}
	return Host{}, false
}

func (l *lister) host() {
	h := &Host{
		Modules: []Module{}, Mounts: []Mount{}, Log: []LogLine{},
		Snapshot: l.s.number, Kernel: l.s.banner,
		Forks: l.s.counters.Forks, Tasks: l.s.counters.Threads, NextPID: l.s.counters.NextPID,
	}
	if l.clocked {
		h.Booted, h.Clock = rfc3339(l.clock.Boot), rfc3339(l.clock.Now)
	}
	for _, p := range l.s.procs {
		if p.PID == 1 {
			h.Hostname = p.Namespaces.Host
		}
	}
	l.modules(h)
	l.mounts(h)
	l.s.problem("kernel log", l.v.Log(func(x objects.LogLine) { h.Log = append(h.Log, LogLine(x)) }))
	l.s.host = h
}

func (l *lister) modules(h *Host) {
	seen := map[uint64][]View{}
	var all []View
	for _, w := range []struct {
		view View
		list func(func(uint64)) error
	}{{ModuleList, l.v.ModuleList}, {ModuleKset, l.v.ModuleObjects}, {ModuleTree, l.v.ModuleTree}, {ModuleScan, l.v.ModuleScan}} {
		err := w.list(func(a uint64) {
			if v := seen[a]; len(v) == 0 || v[len(v)-1] != w.view {
				seen[a] = append(v, w.view)
			}
		})
		if !l.s.problem("modules by "+string(w.view), err) {
			all = append(all, w.view)
		}
	}
	for a, views := range seen {
		m, err := l.v.Module(a)
		if len(views) == 1 && views[0] == ModuleScan && (err != nil || !m.Plausible()) {
			continue // a word that happens to point to where a module would be
		}
		if err != nil {
			l.s.problem("module", err)
			continue
		}
		x := Module{
			Name: m.Name, Size: m.Size, Refs: m.Refs, State: m.State, Base: Address(m.Base), Taints: Address(m.Taints),
			Version: m.Version, Address: Address(a), Views: views, Grade: Seen, UsedBy: append([]string{}, m.UsedBy...),
		}
		// While it is loaded or unloaded, a module is in some and not in others.
		if missing := without(all, views); missing != nil && m.State == "live" {
			x.Grade = Inconsistent
			l.s.modules = append(l.s.modules, moduleMismatch{x, missing, Evidence{"module", Address(a), Address(l.v.Locate(a))}})
		}
		h.Modules = append(h.Modules, x)
	}
	slices.SortFunc(h.Modules, func(a, b Module) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Address, b.Address)) })
	slices.SortFunc(l.s.modules, func(a, b moduleMismatch) int { return cmp.Compare(a.m.Address, b.m.Address) })
}

func without(all, have []View) []View {
	var out []View
	for _, v := range all {
		if !slices.Contains(have, v) {
			out = append(out, v)
		}
	}
	return out
}

func (l *lister) mounts(h *Host) {
	done := map[uint64]bool{}
	for _, e := range l.entries() {
		if e.err != nil || e.task.NSProxy == 0 {
			continue
		}
		n, err := l.v.Namespaces(&e.task)
		if err != nil || n.MountAddr == 0 || done[n.MountAddr] || len(done) >= maxNamespaces {
			continue // a failure is told by the process itself
		}
		done[n.MountAddr] = true
		l.s.problem(fmt.Sprintf("mounts of namespace %d", n.Mount), l.v.Mounts(n.MountAddr, func(m objects.Mount) {
			h.Mounts = append(h.Mounts, Mount{
				NS: n.Mount, ID: m.ID, Parent: m.Parent, Major: m.Major, Minor: m.Minor,
				Path: m.Path, Source: m.Source, FileSystem: m.FileSystem, ReadOnly: m.ReadOnly,
			})
		}))
	}
	slices.SortFunc(h.Mounts, func(a, b Mount) int { return cmp.Or(cmp.Compare(a.NS, b.NS), cmp.Compare(a.ID, b.ID)) })
}

// moduleMismatch is a live module that a view it must be in does not have.
type moduleMismatch struct {
	m       Module
	missing []View
	at      Evidence
}

// judgeModules grades modules as judge does processes.
func (m *model) judgeModules(s, prev *snapshot) {
	for _, x := range s.modules {
		again := prev != nil && slices.ContainsFunc(prev.modules, func(y moduleMismatch) bool {
			return y.m.Address == x.m.Address && slices.Equal(x.missing, y.missing)
		})
		f := &Finding{Kind: "module-mismatch", Grade: Inconsistent}
		if s.instant() || again {
			f.Kind, f.Grade = "hidden-module", Hidden
		}
		f.Module, f.Views, f.Missing, f.Evidence = x.m.Name, x.m.Views, x.missing, []Evidence{x.at}
		f.Summary = fmt.Sprintf("module %s is live and missing from %s; listed by %s", x.m.Name, join(x.missing), join(x.m.Views))
		f.add(s)
		m.findings = append(m.findings, f)
		if i := slices.IndexFunc(s.host.Modules, func(y Module) bool { return y.Address == x.m.Address }); i >= 0 {
			s.host.Modules[i].Grade = f.Grade
		}
	}
}
