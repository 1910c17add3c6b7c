package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"filippo.io/age"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/format"
)

// tapeOptions are the flags that say how a tape is written.
type tapeOptions struct {
	recipients []string // age public keys
	signKey    string   // file
	memory     int64    // bytes that the tape may remember of pages; 0: the default
	spool      int64    // bytes of a snapshot that may wait in the spool; 0: there is none
	reserve    int64    // bytes of the file system that the spool leaves
	patient    bool     // writes wait for room until hurry
}

// tapeFile is a tape being written to a file.
type tapeFile struct {
	*format.Writer
	file  *os.File
	spool *spool // nil: there is none
	key   *keyFile
	hurry func() // has writes wait no longer for room
}

// createTape begins a tape. An existing file is never written over.
func createTape(name string, o tapeOptions, clock *capture.Clock) (*tapeFile, error) {
	w := format.WriterOptions{
		Producer: "xentaped " + version, Start: clock.Anchor(),
		DedupePages: 1 << 20, DeltaMemory: 32 << 20,
	}
	if o.memory > 0 { // a remembered page takes some 64 bytes
		w.DedupePages, w.DeltaMemory = min(w.DedupePages, int(o.memory/4/64)), min(w.DeltaMemory, o.memory/4)
	}
	for _, r := range o.recipients {
		recipient, err := age.ParseX25519Recipient(r)
		if err != nil {
			return nil, usagef("--recipient %s: %w", r, err)
		}
		w.Recipients = append(w.Recipients, recipient)
	}
	t := &tapeFile{}
	if o.signKey != "" {
		var err error
		if t.key, err = openKey(o.signKey); err != nil {
			return nil, err
		}
		w.Signer = t.key.key
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	t.file = f
	if o.spool > 0 && len(o.recipients) == 0 {
		if t.spool, err = createSpool(name, o.reserve); err != nil {
			return nil, errors.Join(err, f.Close(), os.Remove(name))
		}
		w.Spool, w.SpoolBytes = t.spool, o.spool
	}
	to := &tapeWriter{to: f, patient: o.patient, hurry: make(chan struct{})}
	t.hurry = sync.OnceFunc(func() { close(to.hurry) })
	if t.Writer, err = format.NewWriter(to, w); err != nil {
		return nil, errors.Join(err, t.spool.close(), f.Close(), os.Remove(name))
	}
	return t, nil
}

// Seal completes the tape and sees it onto the disk.
func (t *tapeFile) Seal() error {
	err := t.Writer.Seal()
	return errors.Join(err, t.file.Sync(), t.key.save())
}

// Checkpoint also keeps the signing key that comes after the signature: the old one
// is not to be found on this host any more.
func (t *tapeFile) Checkpoint() error {
	return errors.Join(t.Writer.Checkpoint(), t.key.save())
}

// Close ends the file.
func (t *tapeFile) Close() error {
	return errors.Join(t.Writer.Close(), t.spool.close(), t.key.save(), t.file.Close())
}

// size is how long the file is now.
func (t *tapeFile) size() int64 {
	info, err := t.file.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// keyFile is a signing key that changes with each signature.
type keyFile struct {
	name string
	key  *format.SigningKey
}

// openKey reads a signing key, or makes one where the file does not exist.
func openKey(name string) (*keyFile, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		k, err := format.NewSigningKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		kf := &keyFile{name, k}
		return kf, kf.save()
	}
	if err != nil {
		return nil, err
	}
	k, err := format.ParseSigningKey(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("--sign %s: %w", name, err)
	}
	return &keyFile{name, k}, nil
}

// save replaces the file by the key as it is now.
func (k *keyFile) save() error {
	if k == nil {
		return nil
	}
	next := k.name + ".next"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	_, err = w.WriteString(k.key.String() + "\n")
	if err = errors.Join(err, w.Flush(), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(next, k.name)
}
