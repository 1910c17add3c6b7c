package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/xentape/xentape/capture/disk"
	"github.com/xentape/xentape/capture/memory"
	"github.com/xentape/xentape/capture/sandbox"
)

// config is the file of run. Every key is in service/xentaped.yaml.
type config struct {
	Directory string        `yaml:"directory"`
	Guests    []string      `yaml:"guests"` // names or UUIDs; empty: all
	Segment   time.Duration `yaml:"segment"`
	Keep      struct {
		Age   time.Duration `yaml:"age"`
		Bytes size          `yaml:"bytes"`
	} `yaml:"keep"`
	Reserve    size          `yaml:"reserve"` // bytes of the file system never used
	Memory     bool          `yaml:"memory"`
	Disk       bool          `yaml:"disk"`
	Network    bool          `yaml:"network"`
	Base       baseMode      `yaml:"base"`
	Every      time.Duration `yaml:"snapshot-every"`
	Pause      time.Duration `yaml:"pause-budget"`
	Track      string        `yaml:"track"`
	AllowPoD   bool          `yaml:"allow-populate-on-demand"`
	DiskRing   size          `yaml:"disk-ring"`
	Spool      size          `yaml:"spool"` // bytes of a snapshot that may wait beside its tape
	Recipients []string      `yaml:"recipients"`
	Sign       string        `yaml:"sign"`
	NoSandbox  bool          `yaml:"no-sandbox"`
	Limits     struct {
		Memory size `yaml:"memory"` // of the recorder itself
		CPUs   int  `yaml:"cpus"`
	} `yaml:"limits"`
}

// baseMode says which segments begin with an image of each disk.
type baseMode string

const (
	baseNone    baseMode = "false"
	baseEach    baseMode = "true"
	baseRolling baseMode = "rolling" // the first: see rolling.go
)

func (b *baseMode) UnmarshalYAML(n *yaml.Node) error {
	*b = baseMode(n.Value)
	if *b != baseNone && *b != baseEach && *b != baseRolling {
		return fmt.Errorf("line %d: base: %q is not false, true or rolling", n.Line, n.Value)
	}
	return nil
}

// size is a number of bytes, with KiB, MiB, GiB or TiB if wanted.
type size int64

func (s *size) UnmarshalYAML(n *yaml.Node) error {
	v, err := parseSize(n.Value)
	if err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	*s = v
	return nil
}

func parseSize(text string) (size, error) {
	var number int64
	var unit string
	if _, err := fmt.Sscanf(text+" ", "%d%s", &number, &unit); err != nil && number == 0 && text != "0" {
		return 0, fmt.Errorf("size %q: not like 64MiB", text)
	}
	shift := slices.Index([]string{"", "KiB", "MiB", "GiB", "TiB"}, unit)
	if shift < 0 || number < 0 || number > 1<<(62-10*shift) {
		return 0, fmt.Errorf("size %q: not like 64MiB", text)
	}
	return size(number << (10 * shift)), nil
}

// defaults are what a file need not say.
func defaults() config {
	c := config{
		Directory: "/var/lib/xentape", Segment: 10 * time.Minute, Reserve: 1 << 30,
		Memory: true, Disk: true, Network: true, Base: baseNone, Every: 0,
		Pause: memory.DefaultPauseBudget, Track: string(memory.TrackHash), DiskRing: 16 << 20,
		Spool: 1 << 30,
	}
	c.Keep.Age, c.Keep.Bytes = 6*time.Hour, 20<<30
	return c
}

func readConfig(name string) (*config, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	c, err := parseConfig(text)
	if err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("%s: %w", name, err)}
	}
	return c, nil
}

// parseConfig refuses keys it does not know: a misspelt limit is no limit.
func parseConfig(text []byte) (*config, error) {
	c := defaults()
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case c.Segment < time.Minute:
		return nil, fmt.Errorf("segment: %v is less than a minute", c.Segment)
	case c.Pause <= 0:
		return nil, fmt.Errorf("pause-budget: %v is not positive", c.Pause)
	case c.Track != string(memory.TrackHash) && c.Track != string(memory.TrackLogDirty):
		return nil, fmt.Errorf("track: %q is not hash or logdirty", c.Track)
	case c.DiskRing < disk.DefaultRing/64 || c.DiskRing&(c.DiskRing-1) != 0:
		return nil, fmt.Errorf("disk-ring: %d is not a power of two of at least 1MiB", c.DiskRing)
	case c.Base == baseRolling && len(c.Recipients) > 0:
		return nil, errors.New("base: rolling reads segments again, which nobody here can when they are encrypted to recipients: take true or false")
	case c.Limits.Memory != 0 && c.Limits.Memory < leastMemory:
		return nil, fmt.Errorf("limits: memory: %d is less than %dMiB, with which no guest can be recorded", c.Limits.Memory, leastMemory>>20)
	case c.Directory == "":
		return nil, errors.New("directory: empty")
	}
	return &c, nil
}

// sandbox is what of the file system the service goes on using.
func (c *config) sandbox() sandbox.Rules {
	r := sandbox.Rules{Write: []string{c.Directory}, Create: true, Sockets: true}
	if c.Sign != "" {
		r.Write = append(r.Write, filepath.Dir(c.Sign))
	}
	if name := os.Getenv("NOTIFY_SOCKET"); filepath.IsAbs(name) {
		r.Write = append(r.Write, filepath.Dir(name))
	}
	return r
}

// handover is how long a segment waits for dirty page tracking, which the one before
// has until it ends: an overlap, and a snapshot that is still being taken.
const handover = time.Minute

// sources is what the file asks to record of each guest; share is what one tape of
// it may remember in memory, 0 as it likes.
func (c *config) sources(share int64) sources {
	return sources{
		memory: c.Memory, disk: c.Disk, network: c.Network, base: c.Base != baseNone, rolling: c.Base == baseRolling, reads: true, ring: int(c.DiskRing),
		memConfig: memory.Config{
			Automatic: -1, Every: c.Every, PauseBudget: c.Pause, Tracking: memory.Tracking(c.Track), AllowPoD: c.AllowPoD,
			TrackWait: handover, StashBytes: int(min(share/4, memory.DefaultStash)),
		},
	}
}
