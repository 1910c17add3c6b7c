//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/xentape/xentape/corpus/lab/truth"
	"golang.org/x/sys/unix"
)

// The process connector: include/uapi/linux/{connector,cn_proc}.h.
const (
	cnIdxProc        = 1
	cnValProc        = 1
	procMcastListen  = 1
	nlHeader         = 16 // struct nlmsghdr
	cnHeader         = 20 // struct cn_msg
	procEventHeader  = 16 // what, cpu, timestamp_ns
	procEventFork    = 0x00000001
	procEventExec    = 0x00000002
	procEventComm    = 0x00000200
	procEventExit    = 0x80000000
	eventBufferBytes = 4 << 20 // what the socket may hold while we are not scheduled
)

// connector subscribes to the kernel's process events.
func connector() (fd int, err error) {
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_CONNECTOR)
	if err != nil {
		return -1, fmt.Errorf("process connector: %w", err)
	}
	subscribe := make([]byte, nlHeader+cnHeader+4)
	le := binary.LittleEndian
	le.PutUint32(subscribe[0:], uint32(len(subscribe)))
	le.PutUint16(subscribe[4:], unix.NLMSG_DONE)
	le.PutUint32(subscribe[16:], cnIdxProc)
	le.PutUint32(subscribe[20:], cnValProc)
	le.PutUint16(subscribe[32:], 4)
	le.PutUint32(subscribe[36:], procMcastListen)
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, eventBufferBytes),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: cnIdxProc}),
		unix.Sendto(fd, subscribe, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
	)
	if err != nil {
		return -1, errors.Join(fmt.Errorf("process connector: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// logLives writes process events to w until the socket is closed.
func logLives(fd int, w io.Writer) error {
	enc := json.NewEncoder(w)
	buf := make([]byte, 8192)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS):
			// The socket overflowed: from here on the log has a hole, which
			// the comparison must know of.
			if err := enc.Encode(truth.Life{Monotonic: monotonic(), Event: "lost"}); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		life, ok := parseLife(buf[:n])
		if !ok {
			continue
		}
		if life.Event == "exec" {
			describe(&life)
		}
		if err := enc.Encode(life); err != nil {
			return err
		}
	}
}

// parseLife reads one message of the connector.
func parseLife(msg []byte) (truth.Life, bool) {
	if len(msg) < nlHeader+cnHeader+procEventHeader+16 {
		return truth.Life{}, false
	}
	le := binary.LittleEndian
	event := msg[nlHeader+cnHeader:]
	data := event[procEventHeader:]
	life := truth.Life{Monotonic: int64(le.Uint64(event[8:]))}
	number := func(at int) int { return int(le.Uint32(data[at:])) }
	switch le.Uint32(event) {
	case procEventFork:
		life.Event, life.PPID, life.TID, life.PID = "fork", number(4), number(8), number(12)
	case procEventExec:
		life.Event, life.TID, life.PID = "exec", number(0), number(4)
	case procEventExit:
		life.Event, life.TID, life.PID, life.Status = "exit", number(0), number(4), le.Uint32(data[8:])
	case procEventComm:
		if len(data) < 24 {
			return truth.Life{}, false
		}
		life.Event, life.TID, life.PID = "comm", number(0), number(4)
		comm, _, _ := bytes.Cut(data[8:24], []byte{0})
		life.Comm = string(comm)
	default:
		return truth.Life{}, false
	}
	return life, true
}

// describe adds what /proc says of a process that just called exec. It may
// be gone already; then the event stands alone.
func describe(life *truth.Life) {
	dir := filepath.Join("/proc", strconv.Itoa(life.PID))
	life.Exe, _ = os.Readlink(filepath.Join(dir, "exe"))
	if comm, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
		life.Comm = string(bytes.TrimSuffix(comm, []byte{'\n'}))
	}
	if line, err := os.ReadFile(filepath.Join(dir, "cmdline")); err == nil && len(line) > 0 {
		for _, arg := range bytes.Split(bytes.TrimSuffix(line, []byte{0}), []byte{0}) {
			life.Args = append(life.Args, string(arg))
		}
	}
}
