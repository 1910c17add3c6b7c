package files

import (
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// service is a filesystem that keeps its journal on a volume of this disk.
type service struct {
	on *volumeState // the journal's volume
	to *volumeState // the filesystem's, perhaps of another disk
	fs fs.Filesystem
}

// companion finds the volume, here or on a disk beside, that is the external journal
// of that UUID.
func (a *Analyzer) companion(uuid [16]byte) *volumeState {
	all := []*Analyzer{a}
	if a.o.Beside != nil {
		all = append(all, a.o.Beside()...)
	}
	for _, b := range all {
		if b != a {
			b.begin()
		}
		for _, v := range b.volumes {
			if isJournal(v.dev, uuid) {
				return v
			}
		}
	}
	return nil
}

// companion opens the external journal of the volume's filesystem.
func (v *volumeState) companion(uuid [16]byte) fs.Device {
	if v.journal = v.a.companion(uuid); v.journal == nil {
		return nil
	}
	return v.journal.dev
}

// register has the filesystem told of writes to its journal.
func (v *volumeState) register() {
	if v.journal == nil {
		return
	}
	b := v.journal.a
	b.serves = slices.DeleteFunc(b.serves, func(s service) bool { return s.to == v })
	if _, ok := v.fs.(fs.Journaler); ok {
		b.serves = append(b.serves, service{v.journal, v, v.fs})
	}
}

// journaled passes on a write that fell into a journal.
func (v *volumeState) journaled(w *fs.Write) {
	for _, s := range v.a.serves {
		if s.on == v && s.to.fs == s.fs {
			s.fs.(fs.Journaler).Journal(w, s.to)
		}
	}
}
