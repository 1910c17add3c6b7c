package files

import (
	"errors"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// File is one path of a volume as it stands.
type File struct {
	Volume string
	Path   string
	fs.Attr
}

// Tree is the disk's files as they stand now. It is valid until the next Feed.
type Tree struct{ a *Analyzer }

// State gives the live view: what the guest sees.
func (a *Analyzer) State() *Tree {
	a.begin()
	return &Tree{a}
}

// Volumes names what holds a filesystem that is followed.
func (t *Tree) Volumes() []string {
	var out []string
	for _, v := range t.a.volumes {
		if v.fs != nil {
			out = append(out, v.def.Name)
		}
	}
	return out
}

// ErrNoFile: no such path on any volume.
var ErrNoFile = errors.New("no such file")

func (t *Tree) volume(name string) (*volumeState, error) {
	var only *volumeState
	for _, v := range t.a.volumes {
		if v.fs == nil {
			continue
		}
		if v.def.Name == name {
			return v, nil
		}
		only = v
	}
	if name == "" && only != nil && len(t.Volumes()) == 1 {
		return only, nil
	}
	return nil, fmt.Errorf("volume %q: %w", name, ErrNoFile)
}

// Walk visits every path of a volume in order; "" is the only one.
func (t *Tree) Walk(volume string, visit func(File) error) error {
	v, err := t.volume(volume)
	if err != nil {
		return err
	}
	var failed error
	v.names.walk(func(path string, id fs.ID) {
		if failed != nil {
			return
		}
		a, err := v.fs.Stat(id)
		if err != nil {
			a = fs.Attr{ID: id, ATime: fs.NoTime, MTime: fs.NoTime, CTime: fs.NoTime, BTime: fs.NoTime}
		}
		failed = visit(File{Volume: v.def.Name, Path: path, Attr: a})
	})
	return failed
}

// Lookup finds a path; volume "" is the only one.
func (t *Tree) Lookup(volume, path string) (File, error) {
	v, err := t.volume(volume)
	if err != nil {
		return File{}, err
	}
	id, ok := v.names.lookup(path)
	if !ok {
		return File{}, fmt.Errorf("%s:%s: %w", v.def.Name, path, ErrNoFile)
	}
	a, err := v.fs.Stat(id)
	if err != nil {
		return File{}, fmt.Errorf("%s:%s: %w", v.def.Name, path, err)
	}
	return File{Volume: v.def.Name, Path: path, Attr: a}, nil
}

// Open gives a file's content as it stands.
func (t *Tree) Open(f File) (fs.Content, error) {
	v, err := t.volume(f.Volume)
	if err != nil {
		return nil, err
	}
	return v.fs.Content(f.ID)
}

// Xattrs gives a file's extended attributes.
func (t *Tree) Xattrs(f File) ([]fs.Xattr, error) {
	v, err := t.volume(f.Volume)
	if err != nil {
		return nil, err
	}
	return v.fs.Xattrs(f.ID)
}
