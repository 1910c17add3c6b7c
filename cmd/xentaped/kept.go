package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/xentape/xentape/format"
)

// kept is the room that a guest's ring takes. Bytes are those that the file system has
// given out: holes take none, and what is in the ring and pinned counts once, there.
type kept struct {
	Ring   room `json:"ring"`
	Pinned room `json:"pinned"` // what the ring has given up, and the images beside it
	Images room `json:"images"` // of disks, into which the ring is folded
}

// room is a number of files and the room they take.
type room struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// keptBelow adds up a guest's directory. What is given up meanwhile is not counted.
func keptBelow(dir string) (kept, error) {
	var k kept
	type file struct{ device, inode uint64 }
	seen := map[file]bool{}
	for _, part := range []struct {
		dir string
		sum *room
	}{{".", &k.Ring}, {"pinned", &k.Pinned}, {"base", &k.Images}} {
		entries, err := os.ReadDir(filepath.Join(dir, part.dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return k, err
		}
		for _, e := range entries {
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
				continue
			}
			if err != nil {
				return k, err
			}
			if info.Size() == 0 && strings.HasSuffix(e.Name(), format.SpoolSuffix) {
				continue
			}
			st := info.Sys().(*syscall.Stat_t)
			id := file{st.Dev, st.Ino}
			if seen[id] {
				continue
			}
			seen[id] = true
			part.sum.Files++
			part.sum.Bytes += st.Blocks * 512 // stat(2): whatever the block size
		}
	}
	return k, nil
}
