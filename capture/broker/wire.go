//go:build linux

package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// messageLimit bounds a message, and fdLimit the descriptors that come with one.
const (
	messageLimit = 64 << 10
	fdLimit      = 64
)

// request is what the recorder asks for.
type request struct {
	Verb   string `json:"verb"`
	Domain uint16 `json:"domain,omitempty"`
	Number int    `json:"number,omitempty"` // vdev of a disk, handle of a vif, token of a watch
	Bytes  int    `json:"bytes,omitempty"`  // of a ring
	Reads  bool   `json:"reads,omitempty"`
	End    string `json:"end,omitempty"`
}

// The verbs of a request.
const (
	verbFrames = "frames" // privcmd, for the frames of a domain
	verbBuffer = "buffer" // a hypercall buffer of Bytes
	verbDisk   = "disk"   // the block device behind a disk
	verbWatch  = "watch"  // the requests to it, by BPF
	verbTrace  = "trace"  // the requests to it, by the block tracer
	verbLost   = "lost"   // how many records the tracer dropped
	verbStop   = "stop"   // end a watch or trace; what is in its buffers can still be read
	verbVif    = "vif"    // a packet socket
	verbConfig = "config" // libxl's configuration of the guest
	verbKernel = "kernel" // the kernel file that names
)

// reply is the answer; descriptors come beside it.
type reply struct {
	Error  string `json:"error,omitempty"`
	Errno  int    `json:"errno,omitempty"`
	Token  int    `json:"token,omitempty"`
	Count  uint64 `json:"count,omitempty"`
	Addr   uint64 `json:"addr,omitempty"`
	Device *Link  `json:"device,omitempty"`
}

// Link is a network interface as the kernel has it.
type Link struct {
	Index int    `json:"index"`
	MTU   int    `json:"mtu"`
	MAC   string `json:"mac"`
}

// send writes one message with descriptors.
func send(c *net.UnixConn, v any, files []*os.File) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(text) > messageLimit || len(files) > fdLimit {
		return fmt.Errorf("message of %d bytes and %d descriptors is too large", len(text), len(files))
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	_, _, err = c.WriteMsgUnix(text, rights, nil)
	return err
}

// receive reads one message. The descriptors are the caller's, in every case.
func receive(c *net.UnixConn, v any) ([]*os.File, error) {
	text, rights := make([]byte, messageLimit), make([]byte, unix.CmsgSpace(4*fdLimit))
	n, m, flags, _, err := c.ReadMsgUnix(text, rights)
	if err != nil {
		return nil, err
	}
	files, err := descriptors(rights[:m])
	if err != nil {
		return files, err
	}
	if n == 0 && m == 0 {
		return files, io.EOF
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return files, errors.New("message is longer than allowed")
	}
	return files, json.Unmarshal(text[:n], v)
}

func descriptors(rights []byte) ([]*os.File, error) {
	if len(rights) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return files, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "from the broker"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// callSize is the size of a hypercall request {u64 op; u64 n; u64 arg[5]} and
// answerSize of its answer {i64 result; u64 errno}, in bytes, little-endian.
const (
	callSize   = 56
	answerSize = 16
	maxArgs    = 5
)
