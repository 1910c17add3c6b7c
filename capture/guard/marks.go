package guard

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Marks is a directory in which the guard notes what it has paused, one file a
// domain, holding the guest's UUID. It should not outlive a boot: /run/xentape.
// The empty string keeps no marks.
type Marks string

const markPrefix = "paused-"

func (m Marks) file(domain uint16) string {
	return filepath.Join(string(m), markPrefix+strconv.Itoa(int(domain)))
}

func (m Marks) put(domain uint16, uuid [16]byte) error {
	if m == "" {
		return nil
	}
	if err := os.MkdirAll(string(m), 0o700); err != nil {
		return err
	}
	return os.WriteFile(m.file(domain), []byte(hex.EncodeToString(uuid[:])+"\n"), 0o600)
}

// Has says whether the guard notes a domain as paused.
func (m Marks) Has(domain uint16) bool {
	if m == "" {
		return false
	}
	_, err := os.Stat(m.file(domain))
	return err == nil
}

func (m Marks) remove(domain uint16) error {
	if m == "" {
		return nil
	}
	return os.Remove(m.file(domain))
}

// UnpauseMarked ends the pauses that a guard noted and did not end, for after
// recorder and guard were killed together. A guard that was killed between unpausing
// and removing its mark leaves a mark too: a domain that is not paused is left alone.
// It returns the domains it unpaused.
func UnpauseMarked(m Marks, hv Hypervisor) ([]uint16, error) {
	files, err := os.ReadDir(string(m))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var done []uint16
	var errs []error
	for _, f := range files {
		number, ok := strings.CutPrefix(f.Name(), markPrefix)
		if !ok {
			continue
		}
		unpaused, err := m.undo(f.Name(), number, hv)
		if err != nil {
			errs = append(errs, fmt.Errorf("mark %s: %w", f.Name(), err))
			continue
		}
		done = append(done, unpaused...)
	}
	return done, errors.Join(errs...)
}

func (m Marks) undo(name, number string, hv Hypervisor) ([]uint16, error) {
	id, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return nil, err
	}
	domain := uint16(id)
	text, err := os.ReadFile(filepath.Join(string(m), name))
	if err != nil {
		return nil, err
	}
	uuid, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(uuid) != 16 {
		return nil, fmt.Errorf("holds %q, which is no UUID", text)
	}
	info, err := hv.DomainInfo(domain)
	if err != nil || info.Handle != [16]byte(uuid) || !info.Paused() {
		return nil, m.remove(domain) // gone, another guest, or running
	}
	if err := hv.Unpause(domain); err != nil {
		return nil, err
	}
	return []uint16{domain}, m.remove(domain)
}
