package files

import (
	"path"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// heldFiles is a filesystem of files in memory, by their numbers.
type heldFiles struct {
	fs.Filesystem
	files map[uint64][]byte
	mtime map[uint64]Time
	mode  uint16 // of all of them
}

func (h heldFiles) Stat(id fs.ID) (fs.Attr, error) {
	b, ok := h.files[id.Num]
	if !ok {
		return fs.Attr{}, fs.ErrNotFound
	}
	return fs.Attr{ID: id, Live: true, Type: fs.TypeFile, Mode: h.mode, Size: uint64(len(b)), MTime: int64(h.mtime[id.Num])}, nil
}

func (h heldFiles) Content(id fs.ID) (fs.Content, error) {
	return fs.NewInline(uint64(len(h.files[id.Num])), h.files[id.Num]), nil
}

// heldDisk is a disk that holds them.
type heldDisk struct {
	heldFiles
	vol *volumeState
}

func newHeldDisk() *heldDisk {
	d := &heldDisk{heldFiles: heldFiles{files: map[uint64][]byte{}, mtime: map[uint64]Time{}}}
	a := &Analyzer{o: Options{Hash: true, HashLimit: 1 << 20}, parts: newParts()}
	d.vol = &volumeState{a: a, fs: d, awaited: map[fs.ID]awaited{}, known: map[fs.ID]*digest{}, last: int64(now + 120*second)}
	return d
}

// lists makes the tree one of these paths, each of a file of that number.
func (d *heldDisk) lists(files map[string]uint64) {
	root, dirs := fs.ID{Num: 2}, map[string]fs.ID{"/": {Num: 2}}
	d.vol.names = newNames(root)
	var dir func(p string) fs.ID
	dir = func(p string) fs.ID {
		id, ok := dirs[p]
		if !ok {
			id = fs.ID{Num: uint64(1000 + len(dirs))}
			dirs[p] = id
			d.vol.names.add(fs.Dirent{Parent: dir(path.Dir(p)), Name: path.Base(p), Child: id})
		}
		return id
	}
	for p, n := range files {
		d.vol.names.add(fs.Dirent{Parent: dir(path.Dir(p)), Name: path.Base(p), Child: fs.ID{Num: n}})
	}
}

// copied tells of a file that was made or written, as the last step of making a copy.
func (d *heldDisk) copied(op Op, at Time, name string, holds []byte) Event {
	return of(op, at, func(e *Event) {
		size := uint64(len(holds))
		e.vol, e.Path, e.Inode, e.Size = d.vol, "/var/log/"+name, uint64(100+len(d.files)), &size
		e.id.Num = e.Inode
		if op == OpWrite {
			e.SHA256New = hashOf(holds)
		}
		d.files[e.Inode] = holds
	})
}
