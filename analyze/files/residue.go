package files

import (
	"errors"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Residue is a name in a directory that the tree does not bear out: one that was
// removed and is still there to be read, or one by which directory and file
// contradict each other.
type Residue struct {
	Kind       fs.ResidueKind `json:"residue"` // "removed", "unlisted", "dangling"
	Path       string         `json:"path"`
	PathHex    string         `json:"path_hex,omitempty"`
	Type       string         `json:"type"`
	Inode      uint64         `json:"inode,omitempty"` // not there where only the name is left
	Generation uint64         `json:"generation,omitempty"`
	Directory  uint64         `json:"directory"` // its inode number
	Disk       string         `json:"disk"`
	Volume     string         `json:"volume"`
	Filesystem string         `json:"filesystem"`
	UUID       string         `json:"fs_uuid"`
	Size       uint64         `json:"size"` // this and the times as the directory last had them
	ATime      Time           `json:"atime"`
	MTime      Time           `json:"mtime"`
	CTime      Time           `json:"ctime"`
	BTime      Time           `json:"crtime"`
	Offset     uint64         `json:"offset,omitempty"`       // of the entry, bytes from the start of the volume
	Present    string         `json:"present_path,omitempty"` // where the same file is now
}

// ErrNoResidue: no names are recovered from directories of this kind of filesystem.
var ErrNoResidue = errors.New("what directories keep of removed names is not read from this filesystem")

// Residue visits what the directories of a volume keep. An error is what could not be
// looked at; the rest has been visited.
func (t *Tree) Residue(volume string, visit func(*Residue)) error {
	v, err := t.volume(volume)
	if err != nil {
		return err
	}
	info := v.fs.Info()
	f, ok := v.fs.(fs.Residual)
	if !ok {
		return fmt.Errorf("%s: %s: %w", v.name, info.Type, ErrNoResidue)
	}
	err = f.Residue(func(r fs.Residue) {
		e := Residue{
			Kind: r.Kind, Path: join(v.names.path(r.Dir), r.Name), Type: r.Type.String(), Inode: r.Child.Num, Generation: r.Generation, Directory: r.Dir.Num,
			Disk: t.disk, Volume: v.name, Filesystem: info.Type, UUID: info.UUID, Size: r.Size,
			ATime: Time(r.ATime), MTime: Time(r.MTime), CTime: Time(r.CTime), BTime: Time(r.BTime), Offset: r.Off,
		}
		e.PathHex = hexOf(e.Path)
		if a, err := v.fs.Stat(r.Child); err == nil && a.Live && a.Generation == r.Generation {
			e.Present = v.names.path(r.Child)
		}
		visit(&e)
	})
	if err != nil {
		err = fmt.Errorf("%s: %w", v.name, err)
	}
	return err
}
