//go:build linux

package packetring

import (
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// blockSize holds a frame of 64 KiB and its headers many times over; a power of
// two of pages, so that the kernel can allocate it.
const blockSize = 1 << 20

// frameUnit only has to be aligned and divide blockSize in TPACKET_V3.
const frameUnit = 2048

// retireMillis is how long the kernel keeps a block that does not fill up.
const retireMillis = 50

// Ring is one open ring.
type Ring struct {
	fd     int
	mem    []byte
	block  int // size of one block
	blocks int
	next   int
	hatype uint16
}

// Stats are the kernel's counters since they were last read.
type Stats struct {
	Packets uint32 // seen, those dropped included
	Drops   uint32 // for want of a free block
}

// Open binds a ring of about bytes to the interface. It sees no frame of any
// other interface: the socket is made without a protocol and gets one, with the
// interface, in bind. The interface may be down.
func Open(ifindex, bytes int) (*Ring, error) {
	fd, err := Socket(ifindex, bytes)
	if err != nil {
		return nil, err
	}
	return FromSocket(fd, bytes)
}

// Socket is the part of Open that takes privilege: the descriptor of a socket that
// FromSocket, here or in another process, makes a ring of.
func Socket(ifindex, bytes int) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", err)
	}
	r := &Ring{fd: fd}
	if err := r.setUp(ifindex, bytes); err != nil {
		return -1, errors.Join(err, r.Close())
	}
	return fd, nil
}

// FromSocket maps the ring of a socket that Socket made with the same bytes. The
// descriptor is the ring's from here on.
func FromSocket(fd, bytes int) (*Ring, error) {
	r := &Ring{fd: fd}
	r.block, r.blocks = shape(bytes)
	if err := r.open(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Ring) open() error {
	mem, err := unix.Mmap(r.fd, 0, r.block*r.blocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map packet ring: %w", err)
	}
	r.mem = mem
	name, err := unix.Getsockname(r.fd)
	if err != nil {
		return fmt.Errorf("packet socket name: %w", err)
	}
	if ll, ok := name.(*unix.SockaddrLinklayer); ok {
		r.hatype = ll.Hatype
	}
	return nil
}

// setUp orders the calls: the virtio-net header before the ring (the kernel
// refuses it after), the ring before bind (frames in between would be lost).
func (r *Ring) setUp(ifindex, bytes int) error {
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("PACKET_VERSION: %w", err)
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return fmt.Errorf("PACKET_VNET_HDR: %w", err)
	}
	r.block, r.blocks = shape(bytes)
	req := unix.TpacketReq3{
		Block_size: uint32(r.block), Block_nr: uint32(r.blocks),
		Frame_size: frameUnit, Frame_nr: uint32(r.block / frameUnit * r.blocks),
		Retire_blk_tov: retireMillis,
	}
	if err := unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("PACKET_RX_RING of %d blocks of %d bytes: %w", r.blocks, r.block, err)
	}
	all := bits.ReverseBytes16(unix.ETH_P_ALL)
	if err := unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifindex}); err != nil {
		return fmt.Errorf("bind packet socket to interface %d: %w", ifindex, err)
	}
	return nil
}

// shape divides a budget into blocks: of blockSize, or smaller ones when the
// budget does not hold at least two.
func shape(bytes int) (block, blocks int) {
	block = blockSize
	for block > 1<<17 && bytes/block < 2 {
		block >>= 1
	}
	return block, max(bytes/block, 2)
}

// HardwareType is the interface's ARPHRD_ value (linux/if_arp.h).
func (r *Ring) HardwareType() uint16 { return r.hatype }

// Wait returns when a block may be ready, timeout has passed, or the interface
// changed. ErrDown says that the interface is down or gone.
func (r *Ring) Wait(timeoutMillis int) error {
	if r.status().Load()&statusUser != 0 {
		return nil
	}
	p := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN | unix.POLLERR}}
	if _, err := unix.Poll(p, timeoutMillis); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("poll packet socket: %w", err)
	}
	if p[0].Revents&unix.POLLERR == 0 {
		return nil
	}
	code, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		return fmt.Errorf("packet socket error: %w", err)
	case unix.Errno(code) == unix.ENETDOWN:
		return ErrDown
	case code != 0:
		return fmt.Errorf("packet socket: %w", unix.Errno(code))
	}
	return nil
}

// ErrDown is returned once each time the interface goes down.
var ErrDown = errors.New("interface is down")

// Take calls visit for each frame of the next block, if one is ready, and gives
// the block back to the kernel. It reports whether there was one.
func (r *Ring) Take(visit func(*Frame) error) (bool, error) {
	s := r.status()
	if s.Load()&statusUser == 0 {
		return false, nil
	}
	err := eachFrame(r.mem[r.next*r.block:(r.next+1)*r.block], visit)
	s.Store(0) // TP_STATUS_KERNEL
	r.next = (r.next + 1) % r.blocks
	return true, err
}

// status is the word of the next block through which kernel and reader pass it.
func (r *Ring) status() *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&r.mem[r.next*r.block+blockStatus]))
}

// Stats reads the kernel's counters and resets them.
func (r *Ring) Stats() (Stats, error) {
	s, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return Stats{}, fmt.Errorf("PACKET_STATISTICS: %w", err)
	}
	return Stats{Packets: s.Packets, Drops: s.Drops}, nil
}

// Close releases the ring. Frames taken from it must not be used after.
func (r *Ring) Close() error {
	var err error
	if r.mem != nil {
		err = unix.Munmap(r.mem)
		r.mem = nil
	}
	return errors.Join(err, unix.Close(r.fd))
}
