//go:build linux

package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture/internal/bpf"
	"github.com/xentape/xentape/capture/internal/domains"
	"github.com/xentape/xentape/capture/internal/packetring"
)

// The recorder names a device as the guest does; which one of this host that is, is
// looked up here, in the toolstack's part of xenstore.

// disk opens the device behind a disk, or watches the requests to it.
func (s *server) disk(ctx context.Context, q *request) (reply, []*os.File, error) {
	g, err := s.config.Directory.Guest(ctx, q.Domain)
	if err != nil {
		return reply{}, nil, err
	}
	i := slices.IndexFunc(g.Disks, func(d domains.Disk) bool { return d.VDev == q.Number && d.Backend == 0 })
	if i < 0 {
		return reply{}, nil, fmt.Errorf("domain %d has no disk %d served here", q.Domain, q.Number)
	}
	name, err := g.Disks[i].Device()
	if err != nil {
		return reply{}, nil, err
	}
	if q.Verb == verbTrace {
		return s.traceBlocks(name)
	}
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil || q.Verb == verbDisk {
		return reply{}, some(f), err
	}
	o, err := watchOptions(f, q, s.config.Recorder)
	if err = errors.Join(err, f.Close()); err != nil {
		return reply{}, nil, fmt.Errorf("%s: %w", name, err)
	}
	return s.watchBPF(o)
}

// maxRing bounds the kernel memory that a recorder can have for a disk or interface.
const maxRing = 1 << 30

func watchOptions(f *os.File, q *request, recorder int) (bpf.Options, error) {
	o := bpf.Options{Ring: q.Bytes, Reads: q.Reads, End: q.End, Recorder: recorder}
	if q.Bytes <= 0 || q.Bytes > maxRing {
		return o, fmt.Errorf("ring of %d bytes is not within 1 and %d", q.Bytes, maxRing)
	}
	if q.End != bpf.EndBio && q.End != bpf.EndBlkback && q.End != bpf.EndAny {
		return o, fmt.Errorf("end of requests %q is not known", q.End)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return o, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return o, errors.New("not a block device")
	}
	size, err := f.Seek(0, io.SeekEnd)
	o.Major, o.Minor, o.Size = unix.Major(st.Rdev), unix.Minor(st.Rdev), uint64(size)
	return o, err
}

// vif opens a packet socket bound to an interface of the guest.
func (s *server) vif(ctx context.Context, q *request) (reply, []*os.File, error) {
	g, err := s.config.Directory.Guest(ctx, q.Domain)
	if err != nil {
		return reply{}, nil, err
	}
	i := slices.IndexFunc(g.Vifs, func(v domains.Vif) bool { return v.Handle == q.Number && v.Backend == 0 })
	if i < 0 {
		return reply{}, nil, fmt.Errorf("domain %d has no vif %d served here", q.Domain, q.Number)
	}
	if q.Bytes <= 0 || q.Bytes > maxRing {
		return reply{}, nil, fmt.Errorf("ring of %d bytes is not within 1 and %d", q.Bytes, maxRing)
	}
	dev, err := net.InterfaceByName(g.Vifs[i].Interface)
	if err != nil {
		return reply{}, nil, fmt.Errorf("%s: %w", g.Vifs[i].Interface, err)
	}
	fd, err := packetring.Socket(dev.Index, q.Bytes)
	if err != nil {
		return reply{}, nil, err
	}
	return reply{Device: &Link{dev.Index, dev.MTU, dev.HardwareAddr.String()}},
		some(os.NewFile(uintptr(fd), "packet socket")), nil
}

// file opens the configuration of a guest, or the kernel it names.
func (s *server) file(ctx context.Context, q *request) (*os.File, error) {
	g, err := s.config.Directory.Guest(ctx, q.Domain)
	if err != nil {
		return nil, err
	}
	if q.Verb == verbConfig {
		return os.Open(g.ConfigFile())
	}
	config, err := s.config.Directory.Config(g)
	if err != nil {
		return nil, err
	}
	kernel, err := domains.KernelFile(config)
	if err != nil {
		return nil, err
	}
	return os.Open(kernel)
}
