//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/xentape/xentape/corpus/lab/truth"
	"golang.org/x/sys/unix"
)

// Keys below the domain's own directory in xenstore. dom0 writes a wish, the
// witness answers with the same words when it is done:
//
//	point NAME  look at everything, then stand still until the next wish
//	end         finish the logs; the guest powers off
const (
	wishKey   = "data/lab/wish"
	answerKey = "data/lab/answer"
)

// serve logs process events and grants wishes until the wish "end".
func serve(out string) error {
	fd, err := connector()
	if err != nil {
		return err
	}
	lives, err := os.Create(filepath.Join(out, truth.ProcessesName))
	if err != nil {
		return err
	}
	log := &buffered{f: lives}
	failed := make(chan error, 1)
	go func() { failed <- logLives(fd, log) }()

	s, err := openStore()
	if err != nil {
		return err
	}
	if err := s.write(answerKey, "ready"); err != nil {
		return err
	}
	done := ""
	for {
		select {
		case err := <-failed:
			return fmt.Errorf("process log: %w", err)
		case <-time.After(500 * time.Millisecond):
		}
		wish, err := s.read(wishKey)
		if err != nil {
			return err
		}
		if wish == done || wish == "" {
			continue
		}
		name, isPoint := strings.CutPrefix(wish, "point ")
		if isPoint {
			err = point(out, name)
		}
		if err = errors.Join(err, log.flush()); err != nil {
			return err
		}
		if err := s.write(answerKey, wish); err != nil {
			return err
		}
		if wish == "end" {
			return nil
		}
		done = wish
	}
}

// point looks at everything there is. It syncs first, so that the recorded
// disk holds all that the manifest states, and reads /proc last, so that
// little happens between that look and the snapshot.
func point(out, name string) error {
	unix.Sync()
	began := time.Now()
	if err := manifest(filepath.Join(out, truth.ManifestName(name))); err != nil {
		return err
	}
	// It has read every file there is. What of them nobody else uses goes out of
	// memory again, which without a witness would not have held it.
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(out, truth.PointsName), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	p := truth.Point{Name: name, Began: began, Time: time.Now(), Monotonic: monotonic()}
	if err := errors.Join(json.NewEncoder(f).Encode(p), f.Sync(), f.Close()); err != nil {
		return err
	}
	return dumpProcesses("/proc", filepath.Join(out, truth.PointName(name)))
}

// buffered collects a log in memory between points, to keep the guest's
// other disk as quiet as its own.
type buffered struct {
	mu sync.Mutex
	b  []byte
	f  *os.File
}

func (b *buffered) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b = append(b.b, p...)
	return len(p), nil
}

func (b *buffered) flush() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, err := b.f.Write(b.b)
	b.b = b.b[:0]
	return errors.Join(err, b.f.Sync())
}
