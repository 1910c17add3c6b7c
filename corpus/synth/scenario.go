// Package synth makes a tape of a scenario that a person can read, without a
// hypervisor: disks that the file system's own tools change (mke2fs and debugfs) or
// that a real kernel changed once (a base image and a dm-log-writes log), packets
// made from what was said, memory taken from recorded tapes, and gaps. It is for
// testing rules, and what a gap does to an answer, where a recording is hard to stage.
//
// The same scenario, files and version of e2fsprogs give the same bytes.
package synth

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"time"

	"gopkg.in/yaml.v3"
)

// Scenario is what happens. The fields are those of the file.
type Scenario struct {
	Name  string          `yaml:"name"`
	Start time.Time       `yaml:"start"` // the wall clock at the tape's beginning
	Guest Guest           `yaml:"guest"`
	Disks map[string]Disk `yaml:"disks"`
	// Events happen in the order of their times; of equal times, in that of the file.
	Events []Event `yaml:"events"`

	dir string // what file names in it are relative to
}

// Guest is whom the scenario happens to.
type Guest struct {
	Address netip.Addr `yaml:"address"`
}

// Disk is a virtual disk before anything happens: a new ext4 with a tree, or the
// image of Base, with what a kernel wrote to it in the log of Writes.
type Disk struct {
	Size   int64             `yaml:"size"` // bytes, for a new file system
	Tree   map[string]string `yaml:"tree"` // path → content; a path that ends in / is a folder
	Base   string            `yaml:"base"`
	Writes string            `yaml:"writes"`
}

// Event is one thing that happens: exactly one of the pointers is set.
type Event struct {
	At     Duration     `yaml:"at"`
	File   *FileEvent   `yaml:"file"`
	TCP    *TCPEvent    `yaml:"tcp"`
	HTTP   *HTTPEvent   `yaml:"http"`
	DNS    *DNSEvent    `yaml:"dns"`
	Memory *MemoryEvent `yaml:"memory"`
	Gap    *GapEvent    `yaml:"gap"`
}

// Duration is a time since the tape began, as "1.5s".
type Duration time.Duration

// UnmarshalYAML reads a duration.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err == nil && v < 0 {
		err = fmt.Errorf("%s: before the tape began", n.Value)
	}
	*d = Duration(v)
	return err
}

// FileEvent changes a file of an ext4 disk.
type FileEvent struct {
	Disk   string    `yaml:"disk"`
	Do     string    `yaml:"do"` // create, mkdir, delete, rename, link, symlink, chmod, chown, utime, overwrite
	Path   string    `yaml:"path"`
	To     string    `yaml:"to"`   // rename, link: the new name; symlink: the target
	Text   string    `yaml:"text"` // create: content; overwrite: what replaces the file's first bytes
	Mode   uint32    `yaml:"mode"` // create, chmod: permission bits, as 0o755
	Owner  uint32    `yaml:"owner"`
	Time   time.Time `yaml:"time"`   // utime
	Zeroes int       `yaml:"zeroes"` // create: bytes of zero after the text
}

// TCPEvent is a connection from its first segment to its last. Each line of Say
// begins with > (the guest says) or < (the other side says).
type TCPEvent struct {
	From  netip.AddrPort `yaml:"from"` // who connects; default the guest, port 40000 + number of the event
	To    netip.AddrPort `yaml:"to"`
	Say   []string       `yaml:"say"`
	Open  bool           `yaml:"open"`  // it is not closed
	Reset bool           `yaml:"reset"` // the other side refuses it
	Step  Duration       `yaml:"step"`  // between segments; 1 ms
}

// HTTPEvent is one request of the guest and its response.
type HTTPEvent struct {
	Server netip.AddrPort `yaml:"server"`
	Host   string         `yaml:"host"`
	Get    string         `yaml:"get"`
	Status int            `yaml:"status"` // 200
	Type   string         `yaml:"type"`   // of the body
	Body   string         `yaml:"body"`
	File   string         `yaml:"file"` // the body, from a file
}

// DNSEvent is one question of the guest for an address, and its answer.
type DNSEvent struct {
	Server netip.Addr `yaml:"server"`
	Ask    string     `yaml:"ask"`
	Answer netip.Addr `yaml:"answer"` // none: no such name
}

// MemoryEvent is a memory snapshot, taken from a tape.
type MemoryEvent struct {
	Tape     string `yaml:"tape"`
	Snapshot int    `yaml:"snapshot"` // of the tape's memory snapshots, from 1
}

// GapEvent is something the recorder missed.
type GapEvent struct {
	Stream string   `yaml:"stream"` // vif0, or a disk
	Until  Duration `yaml:"until"`
	Reason string   `yaml:"reason"` // overflow, budget, unreadable, detached
	Count  uint64   `yaml:"count"`  // 0: not counted
	Hide   bool     `yaml:"hide"`   // what would be recorded between At and Until is left out
}

// Load reads a scenario. Unknown fields are errors.
func Load(path string) (*Scenario, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s, err := Parse(b, filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Parse reads a scenario; file names in it are relative to dir.
func Parse(b []byte, dir string) (*Scenario, error) {
	s := &Scenario{dir: dir}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(s); err != nil {
		return nil, err
	}
	if s.Name == "" || s.Start.IsZero() || len(s.Events) == 0 {
		return nil, fmt.Errorf("name, start and events are needed")
	}
	if !s.Guest.Address.IsValid() {
		s.Guest.Address = netip.AddrFrom4([4]byte{10, 0, 0, 5})
	}
	for name, d := range s.Disks {
		if (d.Base == "") == (d.Size == 0) {
			return nil, fmt.Errorf("disk %s: want either size (a new ext4) or base (an image)", name)
		}
		if d.Size < 0 || d.Size > 1<<30 || d.Size%4096 != 0 {
			return nil, fmt.Errorf("disk %s: size %d: want whole 4096-byte blocks, 1 GiB at most", name, d.Size)
		}
	}
	for i, e := range s.Events {
		if err := s.check(e); err != nil {
			return nil, fmt.Errorf("event %d: %w", i+1, err)
		}
	}
	sort.SliceStable(s.Events, func(i, j int) bool { return s.Events[i].At < s.Events[j].At })
	return s, nil
}

func (s *Scenario) check(e Event) error {
	n := 0
	for _, set := range []bool{e.File != nil, e.TCP != nil, e.HTTP != nil, e.DNS != nil, e.Memory != nil, e.Gap != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("want one of file, tcp, http, dns, memory, gap; it has %d", n)
	}
	if e.File != nil {
		if d, ok := s.Disks[e.File.Disk]; !ok || d.Base != "" {
			return fmt.Errorf("file %s: disk %q is none that is made here", e.File.Path, e.File.Disk)
		}
		if !filepath.IsAbs(e.File.Path) {
			return fmt.Errorf("file %q: want a path from the root", e.File.Path)
		}
	}
	if e.Gap != nil {
		if _, ok := reasons[e.Gap.Reason]; !ok {
			return fmt.Errorf("gap: reason %q", e.Gap.Reason)
		}
		if e.Gap.Until < e.At {
			return fmt.Errorf("gap: ends before it begins")
		}
	}
	return nil
}

// path is a file the scenario names.
func (s *Scenario) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.dir, name)
}
