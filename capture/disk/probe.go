//go:build linux

package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/xentape/xentape/capture/internal/bpf"
)

// Prospect is what recording a disk would be like.
type Prospect struct {
	Size      uint64 // bytes
	Ends      string // what shows the end of requests
	NoPayload error  // why requests would be without their content; nil: with it
}

// Probe looks at a disk without watching it: the kernel is asked for what Attach would
// ask it for. An error says that its requests cannot be recorded at all.
func (s *Source) Probe() (*Prospect, error) {
	dev, err := openDevice(s.c.Device, s.c.SysFS)
	if err != nil {
		return nil, err
	}
	p := &Prospect{Size: dev.size, Ends: s.chooseEnd(dev)}
	if err := dev.close(); err != nil {
		return nil, err
	}
	p.NoPayload = s.check(bpf.Options{Major: dev.major, Minor: dev.minor, Size: dev.size, End: p.Ends})
	if p.NoPayload == nil {
		return p, nil
	}
	p.Ends = "blktrace"
	if err := s.traceable(dev); err != nil {
		return nil, errors.Join(p.NoPayload, fmt.Errorf("and without BPF: %w", err))
	}
	return p, nil
}

// traceable says whether the kernel has the block tracer: each device has a folder for
// it in sysfs then, and debugfs one for its files (kernel/trace/blktrace.c).
func (s *Source) traceable(dev *device) error {
	for _, folder := range []string{
		filepath.Join(s.c.SysFS, "dev/block", fmt.Sprintf("%d:%d", dev.major, dev.minor), "trace"),
		filepath.Join(s.c.DebugFS, "block"),
	} {
		if _, err := os.Stat(folder); err != nil {
			return fmt.Errorf("block tracer: %w", err)
		}
	}
	return nil
}

// Payload says why this kernel shows no content of requests to a device such as device
// mapper's; nil where it does.
func Payload() error {
	return bpf.Check(bpf.Options{End: bpf.EndBio})
}
