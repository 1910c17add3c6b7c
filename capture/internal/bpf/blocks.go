//go:build linux

package bpf

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

//go:embed kernel/blocks.bpf.o
var object []byte

// ChunkSize is the part of the disk one bit of the bitmap stands for, in bytes.
const ChunkSize = 1 << 20

// The kernel's direct map and page array where they are no variables, that is
// without CONFIG_DYNAMIC_MEMORY_LAYOUT: Documentation/arch/x86/x86_64/mm.rst.
const (
	fixedVmemmap = 0xffffea0000000000
	fixedDirect  = 0xffff888000000000
)

// Where the end of a request is seen.
const (
	EndBlkback = "end_block_io_op"    // xen-blkback's own requests
	EndBio     = "block_bio_complete" // devices without a request queue: device mapper, zram
	EndAny     = "bio_endio"          // any bio of any device
)

// endPrograms are the programs that see the end of requests; one is loaded.
var endPrograms = map[string]string{"end_blkback": EndBlkback, "end_bio": EndBio, "end_any": EndAny}

// Options say what to watch.
type Options struct {
	Major, Minor uint32
	Size         uint64 // of the device, bytes
	Ring         int    // bytes for events; rounded up to a power of two
	Reads        bool   // report reads too
	End          string // EndBlkback, EndBio or EndAny
	Recorder     int    // process whose own reads are not reported; 0: this one
}

// Blocks watches one block device.
type Blocks struct {
	maps    map[string]*ebpf.Map // those of mapNames
	detach  func() error         // stops the programs
	release func()               // of the programs and maps
	reader  *ringbuf.Reader
	record  ringbuf.Record
	touched []byte // the bitmap, shared with the kernel
}

// Counters are the totals since Open.
type Counters struct {
	Requests           uint64 // queued, reported or not
	Dropped            uint64 // of which something did not fit the ring or could not be read
	CompletionsDropped uint64
	Unreadable         uint64 // pieces the kernel could not read
	Orphans            uint64 // writes that began before Open and ended after it
}

// Open is Watch for the process that reads the events itself.
func Open(o Options) (*Blocks, error) {
	b, err := Watch(o)
	if err != nil {
		return nil, err
	}
	if err := b.open(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Watch loads the programs and attaches them, the end of requests first, so that no
// request is seen without its end. It needs CAP_BPF and CAP_PERFMON, kernel BTF, a
// kernel of 5.17 or later, and a lockdown mode below confidentiality. The events are
// for whom Files is given to: nothing is mapped here.
func Watch(o Options) (*Blocks, error) {
	coll, err := load(o)
	if err != nil {
		return nil, err
	}
	b := &Blocks{maps: coll.Maps, release: coll.Close}
	if err := b.attach(coll); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Check says why Watch would fail here: the kernel is given the programs, and does
// not run them.
func Check(o Options) error {
	coll, err := load(o)
	if err != nil {
		return err
	}
	coll.Close()
	return nil
}

// load has the kernel check the programs and make their maps.
func load(o Options) (*ebpf.Collection, error) {
	if runtime.GOARCH != "amd64" {
		return nil, fmt.Errorf("payload capture is written for amd64, this is %s: %w", runtime.GOARCH, errors.ErrUnsupported)
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise locked memory limit: %w", err)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("read bpf object: %w", err)
	}
	if err := configure(spec, o); err != nil {
		return nil, fmt.Errorf("configure bpf object: %w", err)
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("load bpf programs: %w", err)
	}
	return coll, nil
}

// mapNames are the maps through which user space sees what the programs see, in the
// order in which Files gives them.
var mapNames = []string{"events", "touched", "counters", "flights"}

// Files are descriptors by which another process can read what b sees: FromFiles
// makes Blocks of them. The programs stay attached as long as b does.
func (b *Blocks) Files() ([]*os.File, error) {
	var files []*os.File
	for _, name := range mapNames {
		fd, err := unix.FcntlInt(uintptr(b.maps[name].FD()), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return files, fmt.Errorf("bpf map %s: %w", name, err)
		}
		files = append(files, os.NewFile(uintptr(fd), name))
	}
	return files, nil
}

// FromFiles reads what another process watches. detach ends the watching there. The
// files are not needed afterwards.
func FromFiles(files []*os.File, detach func() error) (*Blocks, error) {
	if len(files) != len(mapNames) {
		return nil, fmt.Errorf("%d bpf maps instead of %d", len(files), len(mapNames))
	}
	b := &Blocks{maps: map[string]*ebpf.Map{}, detach: detach}
	b.release = func() {
		for _, m := range b.maps {
			_ = m.Close() // a descriptor of a map has nothing to lose
		}
	}
	for i, name := range mapNames {
		fd, err := unix.FcntlInt(files[i].Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			b.maps[name], err = ebpf.NewMapFromFD(fd)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("bpf map %s: %w", name, err), b.Close())
		}
	}
	if err := b.open(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func configure(spec *ebpf.CollectionSpec, o Options) error {
	for name, end := range endPrograms {
		if end != o.End {
			delete(spec.Programs, name)
		}
	}
	ring := max(o.Ring, 1<<16)
	spec.Maps["events"].MaxEntries = 1 << bits.Len(uint(ring-1))
	chunks := max((o.Size+ChunkSize-1)/ChunkSize, 1)
	if chunks > 1<<32 {
		return fmt.Errorf("device of %d bytes is larger than 4 PiB", o.Size)
	}
	spec.Maps["touched"].MaxEntries = uint32((chunks + 63) / 64)
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return err
	}
	defer f.Close()
	at, err := symbols(f, "vmemmap_base", "page_offset_base")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(at)) {
		if at[name] == 0 {
			return fmt.Errorf("/proc/kallsyms hides the address of %s (kernel.kptr_restrict): %w", name, errors.ErrUnsupported)
		}
	}
	reads := uint8(0)
	if o.Reads {
		reads = 1
	}
	recorder := o.Recorder
	if recorder == 0 {
		recorder = os.Getpid()
	}
	for name, v := range map[string]any{
		"want_dev": o.Major<<20 | o.Minor, "last_chunk": chunks - 1, "want_reads": reads, "recorder": uint32(recorder),
		"vmemmap_at": at["vmemmap_base"], "vmemmap_is": uint64(fixedVmemmap),
		"direct_at": at["page_offset_base"], "direct_is": uint64(fixedDirect),
	} {
		if err := spec.Variables[name].Set(v); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// open maps what is shared with the kernel.
func (b *Blocks) open() error {
	m := b.maps["touched"]
	size := (int(m.MaxEntries())*8 + os.Getpagesize() - 1) &^ (os.Getpagesize() - 1)
	mem, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map bitmap: %w", err)
	}
	b.touched = mem[:m.MaxEntries()*8]
	if b.reader, err = ringbuf.NewReader(b.maps["events"]); err != nil {
		return fmt.Errorf("open ring: %w", err)
	}
	return nil
}

// attach starts the programs.
func (b *Blocks) attach(coll *ebpf.Collection) error {
	var links []link.Link
	b.detach = func() error {
		var errs []error
		for i := len(links) - 1; i >= 0; i-- { // the queue first: no request without its end
			errs = append(errs, links[i].Close())
		}
		links = nil
		return errors.Join(errs...)
	}
	for _, name := range []string{"end_blkback", "end_bio", "end_any", "queue"} {
		p := coll.Programs[name]
		if p == nil {
			continue
		}
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			return fmt.Errorf("attach bpf program %s: %w", name, err)
		}
		links = append(links, l)
	}
	return nil
}

// Next reads one event, waiting until the deadline at most; then it returns
// os.ErrDeadlineExceeded.
func (b *Blocks) Next(e *Event, deadline time.Time) error {
	b.reader.SetDeadline(deadline)
	if err := b.reader.ReadInto(&b.record); err != nil {
		return err
	}
	return e.parse(b.record.RawSample)
}

// Touched takes the marks of the bitmap: visit is called for each chunk of which
// something is missing, and its mark is removed.
func (b *Blocks) Touched(visit func(chunk uint64)) {
	for i := 0; i < len(b.touched); i += 8 {
		word := (*atomic.Uint64)(unsafe.Pointer(&b.touched[i]))
		if word.Load() == 0 {
			continue
		}
		for v := word.Swap(0); v != 0; v &= v - 1 {
			visit(uint64(i)*8 + uint64(bits.TrailingZeros64(v)))
		}
	}
}

// Counters reads the totals.
func (b *Blocks) Counters() (Counters, error) {
	var c Counters
	for i, v := range []*uint64{&c.Requests, &c.Dropped, &c.CompletionsDropped, &c.Unreadable, &c.Orphans} {
		if err := b.maps["counters"].Lookup(uint32(i), v); err != nil {
			return c, fmt.Errorf("bpf counters: %w", err)
		}
	}
	return c, nil
}

// InFlight lists the requests that were queued and have not ended.
func (b *Blocks) InFlight() (map[uint64]bool, error) {
	type flight struct {
		ID, Sector  uint64
		Bytes       uint32
		Op, Dropped uint8
		_           uint16
	}
	out := map[uint64]bool{}
	var key uint64
	var f flight
	it := b.maps["flights"].Iterate()
	for it.Next(&key, &f) {
		out[f.ID] = true
	}
	// An iteration ends early when an entry goes away under it: what it gave still holds.
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, fmt.Errorf("bpf requests in flight: %w", err)
	}
	return out, nil
}

// Detach stops the watching; events already in the ring can still be read.
func (b *Blocks) Detach() error {
	if b.detach == nil {
		return nil
	}
	err := b.detach()
	b.detach = nil
	return err
}

// Close releases everything.
func (b *Blocks) Close() error {
	errs := []error{b.Detach()}
	if b.reader != nil {
		errs = append(errs, b.reader.Close())
	}
	if b.touched != nil {
		errs = append(errs, unix.Munmap(b.touched[:cap(b.touched)]))
		b.touched = nil
	}
	b.release()
	return errors.Join(errs...)
}

// HasBlkback says whether this kernel can show the end of xen-blkback's requests.
func HasBlkback() bool {
	_, err := os.Stat("/sys/kernel/btf/xen_blkback")
	if err == nil {
		return true
	}
	f, err := os.Open("/proc/kallsyms") // built in
	if err != nil {
		return false
	}
	defer f.Close()
	at, err := symbols(f, EndBlkback)
	return err == nil && len(at) > 0
}
