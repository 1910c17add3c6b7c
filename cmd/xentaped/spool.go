package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/format"
)

// spool is the file beside a tape in which a snapshot waits to be hashed and
// compressed. It is empty between snapshots; what a recorder that was killed leaves in
// it is for "xentape salvage".
type spool struct {
	*os.File
	reserve int64
}

// createSpool makes the spool of a tape. It must not be there: it would be what is left
// of another tape of this name.
func createSpool(tape string, reserve int64) (*spool, error) {
	name := tape + format.SpoolSuffix
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s is there already, with what an earlier recorder did not get onto its tape: move it away", name)
	}
	if err != nil {
		return nil, err
	}
	return &spool{f, reserve}, nil
}

// WriteAt fails rather than take the reserve of the file system, or the room that what
// waits here may need on the tape, before it is given up here.
func (s *spool) WriteAt(b []byte, off int64) (int, error) {
	left, err := roomOn(s.File)
	if err == nil && left < s.reserve+off+2*int64(len(b)) {
		return 0, fmt.Errorf("%s: %w: %d bytes are left beside the reserve of %d", s.Name(), unix.ENOSPC, left, s.reserve)
	}
	return s.File.WriteAt(b, off)
}

// close ends the spool, and removes it when nothing is in it. Without leave to do so
// the broker does.
func (s *spool) close() error {
	if s == nil {
		return nil
	}
	sweep(s.Name())
	return s.File.Close()
}

// spoolOf is where the spool of a tape is, from wherever one looks.
func spoolOf(tape string) string {
	name, err := filepath.Abs(tape)
	if err != nil {
		return ""
	}
	return name + format.SpoolSuffix
}

// sweep removes a spool in which nothing is left.
func sweep(name string) {
	if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() && info.Size() == 0 {
		_ = os.Remove(name) // an empty file does no harm
	}
}
