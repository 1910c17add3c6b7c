// Command load works a block device from inside a guest the way fio's randwrite with
// verify does: writes of random size at random places past the page cache, flushes,
// discards, and reads of what was written, each checked. It prints one line of JSON:
// how much it did, how many errors it met, and how long the slowest request took.
//
//	load [-seconds N] [-seed N] DEVICE
package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	seconds := flag.Int("seconds", 30, "how long to work")
	seed := flag.Int64("seed", 1, "of the sizes and places")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: load [-seconds N] [-seed N] DEVICE")
		os.Exit(2)
	}
	w, err := open(flag.Arg(0), *seed)
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	w.work(time.Now().Add(time.Duration(*seconds) * time.Second))
	if err := json.NewEncoder(os.Stdout).Encode(w.done); err != nil || w.done.Errors > 0 {
		os.Exit(1)
	}
}

// block is the unit of what is written, in bytes, and largest how many go at once.
const (
	block   = 4096
	largest = 64
)

// result is what was done.
type result struct {
	Writes   int     `json:"writes"`
	Bytes    int64   `json:"bytes"`
	Reads    int     `json:"reads"`
	Flushes  int     `json:"flushes"`
	Discards int     `json:"discards"`
	Errors   int     `json:"errors"`
	Problem  string  `json:"problem,omitempty"` // the first
	Slowest  float64 `json:"slowest_ms"`
	Seconds  float64 `json:"seconds"`
}

type worker struct {
	f      *os.File
	blocks int
	rng    *rand.Rand
	last   []uint64 // by block: the serial number written last; 0: none, or discarded
	serial uint64
	buf    []byte
	done   result
}

func open(device string, seed int64) (*worker, error) {
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size < largest*block {
		return nil, fmt.Errorf("%s: size %d: %w", device, size, err)
	}
	// O_DIRECT wants memory aligned to the device's blocks: a mapping is.
	buf, err := unix.Mmap(-1, 0, largest*block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	n := int(size / block)
	return &worker{f: f, blocks: n, rng: rand.New(rand.NewSource(seed)), last: make([]uint64, n), buf: buf}, nil
}

// work does requests until the deadline, one after the other.
func (w *worker) work(deadline time.Time) {
	began := time.Now()
	for time.Now().Before(deadline) {
		n := 1 + w.rng.Intn(largest)
		at := w.rng.Intn(w.blocks - n)
		start := time.Now()
		var err error
		switch k := w.rng.Intn(40); {
		case k == 0:
			w.done.Flushes++
			err = w.f.Sync()
		case k == 1:
			err = w.discard(at, n)
		case k < 10:
			err = w.check(at, n)
		default:
			err = w.write(at, n)
		}
		w.done.Slowest = max(w.done.Slowest, float64(time.Since(start).Microseconds())/1000)
		if err != nil {
			w.done.Errors++
			if w.done.Problem == "" {
				w.done.Problem = err.Error()
			}
		}
	}
	if err := w.f.Sync(); err != nil {
		w.done.Errors++
	}
	w.done.Seconds = time.Since(began).Seconds()
}

// fill makes the content of one block: which it is, and which writing of it.
func fill(b []byte, index int, serial uint64) {
	for i := 0; i < block; i += 16 {
		binary.LittleEndian.PutUint64(b[i:], uint64(index))
		binary.LittleEndian.PutUint64(b[i+8:], serial)
	}
}

func (w *worker) write(at, n int) error {
	w.serial++
	for i := range n {
		fill(w.buf[i*block:], at+i, w.serial)
		w.last[at+i] = w.serial
	}
	w.done.Writes++
	w.done.Bytes += int64(n * block)
	_, err := w.f.WriteAt(w.buf[:n*block], int64(at)*block)
	return err
}

// check reads blocks and compares those whose content is known.
func (w *worker) check(at, n int) error {
	w.done.Reads++
	if _, err := w.f.ReadAt(w.buf[:n*block], int64(at)*block); err != nil {
		return err
	}
	var want [block]byte
	for i := range n {
		if w.last[at+i] == 0 {
			continue
		}
		fill(want[:], at+i, w.last[at+i])
		if !bytes.Equal(want[:], w.buf[i*block:(i+1)*block]) {
			return fmt.Errorf("block %d does not hold what was written", at+i)
		}
	}
	return nil
}

// blkdiscard is BLKDISCARD (linux/fs.h): {u64 start, u64 length} in bytes.
const blkdiscard = 0x1277

// discard drops blocks; a device that cannot is no error.
func (w *worker) discard(at, n int) error {
	extent := [2]uint64{uint64(at) * block, uint64(n) * block}
	_, _, e := unix.Syscall(unix.SYS_IOCTL, w.f.Fd(), blkdiscard, uintptr(unsafe.Pointer(&extent)))
	if e == syscall.EOPNOTSUPP {
		return nil
	}
	clear(w.last[at : at+n])
	w.done.Discards++
	if e != 0 {
		return e
	}
	return nil
}
