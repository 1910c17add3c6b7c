package files

import (
	"bytes"
	"errors"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/btrfs"
	"github.com/xentape/xentape/analyze/internal/fs/ext4"
	"github.com/xentape/xentape/analyze/internal/fs/fat"
	"github.com/xentape/xentape/analyze/internal/fs/ntfs"
	"github.com/xentape/xentape/analyze/internal/fs/xfs"
)

// reader is one kind of filesystem. identify looks at the superblock alone: it
// is asked after every write to one.
type reader struct {
	open     func(fs.Device, fs.Options) (fs.Filesystem, error)
	identify func(fs.Device) (fs.Info, error)
}

// readers are the filesystems known, in the order they are tried.
func readers() []reader {
	return []reader{
		{ext4.Open, ext4.Identify},
		{xfs.Open, xfs.Identify},
		{btrfs.Open, btrfs.Identify},
		{ntfs.Open, ntfs.Identify},
		{fat.Open, fat.Identify}, // last: it has no magic number
	}
}

// probe opens the first filesystem that recognises the volume. fs.ErrNotFound
// when none does.
func probe(dev fs.Device, o fs.Options) (fs.Filesystem, error) {
	for _, r := range readers() {
		f, err := r.open(dev, o)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, fs.ErrNotFound) {
			return nil, err
		}
	}
	return nil, fs.ErrNotFound
}

// signature says what a volume holds now, "" for nothing recognised.
func signature(dev fs.Device) string {
	for _, r := range readers() {
		if r.identify == nil {
			continue
		}
		if i, err := r.identify(dev); err == nil {
			return i.Type + " " + i.UUID
		}
	}
	return ""
}

// isJournal reports whether dev is the external journal of that UUID: an ext4
// superblock with the journal_dev feature, or the log of that xfs.
func isJournal(dev fs.Device, uuid [16]byte) bool {
	var b [1024]byte
	if _, err := dev.ReadAt(b[:], 1024); err != nil {
		return false
	}
	return b[0x38] == 0x53 && b[0x39] == 0xef && b[0x60]&8 != 0 && bytes.Equal(b[0x68:0x78], uuid[:]) || xfs.IsLog(dev, uuid)
}
