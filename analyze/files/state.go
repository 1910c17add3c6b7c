package files

import (
	"errors"
	"fmt"
	"strings"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/format"
)

// File is one path of a volume as it stands.
type File struct {
	Volume string
	Path   string
	Attr
}

// Tree is the disk's files at one moment. It is valid until the next Feed.
type Tree struct {
	disk    string
	volumes []treeVolume
	// Problems found while reading it, for the crash view.
	Problems []Problem
}

type treeVolume struct {
	name  string
	fs    fs.Filesystem
	names *names
}

// State gives the live view: what the guest sees. Metadata that was written in
// place without a journal and not yet told is told first: the names are then those
// on the disk.
func (a *Analyzer) State() *Tree {
	a.begin()
	a.reconcile(a.lastOp)
	a.settle(a.lastOp)
	a.conclude(a.lastOp)
	for _, v := range a.volumes {
		if v.fs != nil {
			v.names.decide(v.fs.Stat)
		}
	}
	return a.followed()
}

// followed is the tree as the events so far made it.
func (a *Analyzer) followed() *Tree {
	t := &Tree{disk: a.o.Disk}
	for _, v := range a.volumes {
		if v.fs != nil {
			t.volumes = append(t.volumes, treeVolume{v.def.Name, v.fs, v.names})
		}
	}
	return t
}

// Crash gives the crash view: what a mount would show had the machine lost power
// now. Every volume is read from the start, its journal replayed.
func (a *Analyzer) Crash() *Tree {
	a.begin()
	t := &Tree{disk: a.o.Disk}
	for _, v := range a.volumes {
		if v.def.Opaque != "" {
			continue
		}
		f, err := probe(v.dev, fs.Options{View: fs.ViewCrash, Companion: v.companion})
		if err != nil {
			if !errors.Is(err, fs.ErrNotFound) && !errors.Is(err, fs.ErrJournal) {
				t.Problems = append(t.Problems, Problem{Kind: "unsupported", Disk: a.o.Disk, Volume: v.def.Name, Text: err.Error()})
			}
			continue
		}
		r := &recrawl{names: newNames(f.Info().Root), disk: a.o.Disk, volume: v.def.Name}
		if err := f.Crawl(r); err != nil {
			r.Problem(fs.Problem{Kind: fs.ProblemCorrupt, Text: err.Error()})
		}
		r.names.decide(f.Stat)
		t.Problems = append(t.Problems, r.problems...)
		t.volumes = append(t.volumes, treeVolume{v.def.Name, f, r.names})
	}
	return t
}

// recrawl receives a second index of a volume.
type recrawl struct {
	names    *names
	attrs    map[fs.ID]fs.Attr // only when not nil
	disk     string
	volume   string
	problems []Problem
}

// Inode implements fs.Visitor.
func (r *recrawl) Inode(a fs.Attr) {
	if r.attrs != nil {
		r.attrs[a.ID] = a
	}
}

// Link implements fs.Visitor.
func (r *recrawl) Link(d fs.Dirent) { r.names.add(d) }

// Problem implements fs.Visitor.
func (r *recrawl) Problem(p fs.Problem) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, Problem{Kind: problemKind(p.Kind), Disk: r.disk, Volume: r.volume, Inode: p.ID.Num, Offset: p.Off, Length: p.Len, Text: p.Text})
	}
}

// Volumes names what holds a filesystem that is followed.
func (t *Tree) Volumes() []string {
	var out []string
	for _, v := range t.volumes {
		out = append(out, v.name)
	}
	return out
}

// Describe says what a volume holds: filesystem type, UUID, label.
func (t *Tree) Describe(volume string) (kind, uuid, label string, err error) {
	v, err := t.volume(volume)
	if err != nil {
		return "", "", "", err
	}
	i := v.fs.Info()
	return i.Type, i.UUID, i.Label, nil
}

// ErrNoFile: no such path on any volume.
var ErrNoFile = errors.New("no such file")

func (t *Tree) volume(name string) (*treeVolume, error) {
	for i := range t.volumes {
		if t.volumes[i].name == name || name == "" && len(t.volumes) == 1 {
			return &t.volumes[i], nil
		}
	}
	var known []string
	for i := range t.volumes {
		known = append(known, t.volumes[i].name)
	}
	switch {
	case len(known) == 0:
		return nil, fmt.Errorf("no file system of the disk could be read: %w", ErrNoFile)
	case name == "":
		return nil, fmt.Errorf("the disk has more than one volume, name one of %s: %w", strings.Join(known, ", "), ErrNoFile)
	}
	return nil, fmt.Errorf("volume %q, where there are %s: %w", name, strings.Join(known, ", "), ErrNoFile)
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
		failed = visit(File{Volume: v.name, Path: path, Attr: a})
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
		return File{}, fmt.Errorf("%s:%s: %w", v.name, path, ErrNoFile)
	}
	a, err := v.fs.Stat(id)
	if err != nil {
		return File{}, fmt.Errorf("%s:%s: %w", v.name, path, err)
	}
	return File{Volume: v.name, Path: path, Attr: a}, nil
}

// Find looks a path up on every volume; a guest's own paths do not name one.
func (t *Tree) Find(path string) []File {
	var out []File
	for _, v := range t.volumes {
		if f, err := t.Lookup(v.name, path); err == nil {
			out = append(out, f)
		}
	}
	return out
}

// Open gives a file's content as it stands.
func (t *Tree) Open(f File) (Content, error) {
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

// Disk is the disk as it stands, for export.
func (a *Analyzer) Disk() format.Image { return a.disk }
