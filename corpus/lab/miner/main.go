//go:build linux

// Command miner is the intruder's program in the lab's scenario "miner": it
// asks a pool for work over Stratum, as xmrig does, and hashes for it.
//
//	miner -o stratum+tcp://ADDRESS:PORT -u WALLET
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// Hashes between two shares, and a rest that leaves the emulated host its time.
const (
	work = 20000
	rest = 3 * time.Second
)

func main() {
	if len(os.Args) != 5 || os.Args[1] != "-o" || os.Args[3] != "-u" {
		fmt.Fprintln(os.Stderr, "usage: miner -o stratum+tcp://ADDRESS:PORT -u WALLET")
		os.Exit(2)
	}
	if err := mine(strings.TrimPrefix(os.Args[2], "stratum+tcp://"), os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "miner:", err)
		os.Exit(1)
	}
}

func mine(pool, wallet string) error {
	c, err := net.Dial("tcp4", pool)
	if err != nil {
		return err
	}
	defer c.Close()
	answers := bufio.NewReader(c)
	ask := func(format string, a ...any) error {
		if _, err := fmt.Fprintf(c, format+"\n", a...); err != nil {
			return err
		}
		_, err := answers.ReadString('\n')
		return err
	}
	if err := ask(`{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"%s","pass":"x","agent":"XMRig/6.21.0","algo":["rx/0"]}}`, wallet); err != nil {
		return err
	}
	state := sha256.Sum256([]byte(wallet))
	for nonce := uint64(0); ; {
		for range work {
			nonce++
			binary.LittleEndian.PutUint64(state[:], nonce)
			state = sha256.Sum256(state[:])
		}
		if err := ask(`{"id":2,"jsonrpc":"2.0","method":"submit","params":{"id":"1","job_id":"1","nonce":"%08x","result":"%x"}}`, uint32(nonce), state); err != nil {
			return err
		}
		time.Sleep(rest)
	}
}
