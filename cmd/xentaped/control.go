package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/xentape/xentape/capture/host"
)

// The control socket takes one JSON object and answers with one, a line each.

// command is what is asked of a recorder.
type command struct {
	Verb string   `json:"verb"` // "snapshot", "status", "trigger"
	Keep duration `json:"keep,omitzero"`
}

// answer is what it says.
type answer struct {
	Error  string   `json:"error,omitempty"`
	Status *status  `json:"status,omitempty"`
	Pinned []string `json:"pinned,omitempty"` // tapes that a trigger keeps
}

// duration is written as time.Duration prints it.
type duration time.Duration

func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }
func (d *duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = duration(v)
	return err
}

// socketPath is where the recorder of a guest listens.
func socketPath(uuid [16]byte) string {
	return filepath.Join(stateDir(), host.FormatUUID(uuid)+".sock")
}

// listen opens a control socket. A stale one, of a recorder that was killed, is
// replaced; one that answers is not.
func listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if c, err := net.Dial("unix", path); err == nil {
		return nil, errors.Join(fmt.Errorf("%s: another recorder is at work on this guest", path), c.Close())
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return net.Listen("unix", path)
}

// requestLimit bounds what a client may send, and answerTime how long it may take.
const (
	requestLimit = 64 << 10
	answerTime   = 10 * time.Minute
)

// serve answers on a control socket until it is closed.
func serve(ctx context.Context, l net.Listener, handle func(context.Context, command) answer) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(answerTime))
			line, err := bufio.NewReaderSize(conn, requestLimit).ReadSlice('\n')
			if err != nil {
				return
			}
			var c command
			a := answer{}
			if err := json.Unmarshal(line, &c); err != nil {
				a.Error = "request: " + err.Error()
			} else {
				a = handle(ctx, c)
			}
			_ = json.NewEncoder(conn).Encode(a)
		}()
	}
}

// ask sends a command to a recorder.
func ask(ctx context.Context, path string, c command) (*answer, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("no recorder is at work on this guest: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := json.NewEncoder(conn).Encode(c); err != nil {
		return nil, err
	}
	var a answer
	if err := json.NewDecoder(conn).Decode(&a); err != nil {
		return nil, fmt.Errorf("answer of the recorder: %w", err)
	}
	if a.Error != "" {
		return &a, errors.New(a.Error)
	}
	return &a, nil
}
