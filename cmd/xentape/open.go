package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/xentape/xentape/capture/foreign"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// keyFlags are the flags of every verb that reads a sealed tape.
type keyFlags struct{ identities []string }

func (k *keyFlags) register(c *cobra.Command) {
	c.Flags().StringArrayVarP(&k.identities, "identity", "i", nil, "age identity `file` that opens a sealed tape (repeatable)")
}

func (k *keyFlags) load() ([]age.Identity, error) {
	var ids []age.Identity
	for _, path := range k.identities {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		got, err := age.ParseIdentities(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		ids = append(ids, got...)
	}
	return ids, nil
}

// openTape opens a tape that a verb needs as a tape.
func (k *keyFlags) openTape(path string) (*replay.Tape, error) {
	ids, err := k.load()
	if err != nil {
		return nil, err
	}
	tape, err := replay.Open(path, replay.Options{Identities: ids})
	if errors.Is(err, format.ErrNotTape) {
		err = fmt.Errorf("%w: recordings of other tools are read by ps, files and conns, or made a tape by import", err)
	}
	return tape, err
}

// openInput opens a file to read, and gives its size.
func openInput(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && st.IsDir() {
		err = &fs.PathError{Op: "read", Path: path, Err: errors.New("is a folder; a verb reads one tape or one file")}
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, st.Size(), nil
}

func peek(path string) (head []byte, size int64, err error) {
	f, size, err := openInput(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	head = make([]byte, 64)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	if n == 0 {
		return nil, 0, fmt.Errorf("%s: is empty", path)
	}
	return head[:n], size, nil
}

// foreignMemory is an imported image as the replay of a single snapshot.
type foreignMemory struct {
	*foreign.MemoryImage
	info replay.MemoryInfo
}

func (m *foreignMemory) Info() replay.MemoryInfo { return m.info }

// Changed: a single image has nothing to compare with.
func (m *foreignMemory) Changed() ([]format.Extent, bool) { return nil, false }

// openMemory opens a memory image that another tool made. paused is the user's
// word that the guest stood still meanwhile.
func openMemory(path string, paused bool) (*foreignMemory, io.Closer, error) {
	f, size, err := openInput(path)
	if err != nil {
		return nil, nil, err
	}
	im, err := foreign.OpenMemory(f, size, filepath.Base(path))
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	g := map[foreign.GuestType]replay.GuestType{foreign.GuestPV: replay.GuestPV, foreign.GuestHVM: replay.GuestHVM, foreign.GuestBare: replay.GuestBare}[im.Guest]
	info := replay.MemoryInfo{Snapshot: 1, Guest: g, Xen: im.Xen, Source: fmt.Sprintf("%s (%s)", im.Name, im.Format)}
	info.Conditions.Paused = paused || oneInstant[im.Format]
	return &foreignMemory{MemoryImage: im, info: info}, f, nil
}

// oneInstant lists the formats whose tools stop the guest while they copy: QEMU's
// dump-guest-memory (dump.c stops the machine in every mode), kdump after a crash,
// and xl save's last round. xl dump-core does not pause (xl(1)), and LiME and raw
// images are mostly of running machines.
var oneInstant = map[string]bool{foreign.FormatELFVmcore: true, foreign.FormatKdump: true, foreign.FormatXLSave: true}

// isTape tells a tape by its first bytes.
func isTape(head []byte) bool { return hasMagic(head, format.Magic) }

func hasMagic(head []byte, magics ...string) bool {
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m)) {
			return true
		}
	}
	return false
}
