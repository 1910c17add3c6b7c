//go:build linux

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/xentape/xentape/corpus/lab/truth"
	"golang.org/x/sys/unix"
)

// noteFiles appends one line for each path to files.jsonl.
func noteFiles(out, when, op string, paths []string, old string) error {
	f, err := os.OpenFile(filepath.Join(out, truth.FilesName), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(f)
	committed := commits("/")
	for _, path := range paths {
		state, err := look(path, true)
		if err != nil {
			return errors.Join(err, f.Close())
		}
		note := truth.FileNote{
			Time: time.Now(), Monotonic: monotonic(), When: when, Op: op,
			Path: path, OldPath: old, Shell: os.Getppid(), State: state, Commits: committed,
		}
		if err := enc.Encode(note); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(f.Sync(), f.Close())
}

// look says what is at path; nil when nothing is.
func look(path string, hash bool) (*truth.FileState, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := state(info)
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		s.Target, err = os.Readlink(path)
	case info.Mode().IsRegular() && hash:
		s.SHA256, err = sum(path)
	}
	return s, err
}

func state(info fs.FileInfo) *truth.FileState {
	st := info.Sys().(*syscall.Stat_t)
	return &truth.FileState{
		Inode: st.Ino, Mode: st.Mode, UID: st.Uid, GID: st.Gid, Links: uint64(st.Nlink),
		Size: st.Size, Mtime: time.Unix(st.Mtim.Unix()).UTC(), Ctime: time.Unix(st.Ctim.Unix()).UTC(),
	}
}

func sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// manifest writes what the root file system holds, by lstat alone: reading
// every file would fill the small guest's memory with it.
func manifest(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(f)
	var root syscall.Stat_t
	if err := syscall.Lstat("/", &root); err != nil {
		return errors.Join(err, f.Close())
	}
	err = filepath.WalkDir("/", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // gone since its directory was read, or not readable: nothing to state
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if info.Sys().(*syscall.Stat_t).Dev != root.Dev {
			return filepath.SkipDir
		}
		return enc.Encode(truth.ManifestEntry{Path: path, FileState: *state(info)})
	})
	return errors.Join(err, f.Sync(), f.Close())
}

// monotonic is the guest's CLOCK_MONOTONIC in nanoseconds.
func monotonic() int64 {
	var ts unix.Timespec
	// CLOCK_MONOTONIC is always there on Linux; the call has no other error.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}
