package ntfs

import (
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/delta"
)

const (
	rootRecord   = 5
	extendRecord = 11 // $Extend: journal, quotas, object ids
	firstUser    = 24 // records below are the volume's own

	fileHidden    = 0x0002 // file attributes: FILE_ATTRIBUTE_HIDDEN, …_SYSTEM, …_DIRECTORY
	fileSystem    = 0x0004
	fileDirectory = 0x0010
)

// id numbers the streams of a file: space 0 is the file itself.
func id(num uint64, stream string) fs.ID {
	if stream == "" {
		return fs.ID{Num: num}
	}
	return fs.ID{Space: digest([]byte(stream)) | 1, Num: num}
}

func digest(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64()
}

// internal reports whether a file is the volume's own bookkeeping, which no
// driver lists.
func (f *file) internal() bool {
	if f.num == rootRecord {
		return false
	}
	if f.num < firstUser {
		return true
	}
	for _, n := range f.names {
		if n.parent.record() == extendRecord {
			return true
		}
	}
	return len(f.names) == 0 && f.std == nil
}

// attr describes stream s of f; s is nil for what has no data.
func (f *file) attr(s *stream) fs.Attr {
	a := fs.Attr{
		ID: id(f.num, ""), Generation: uint64(f.seq), Type: fs.TypeFile, Live: true, Mode: 0o777,
		Links: uint32(len(f.names)), ATime: fs.NoTime, MTime: fs.NoTime, CTime: fs.NoTime, BTime: fs.NoTime,
	}
	if len(f.std) >= 36 {
		a.BTime, a.MTime = filetime(le.Uint64(f.std)), filetime(le.Uint64(f.std[8:]))
		a.CTime, a.ATime = filetime(le.Uint64(f.std[16:])), filetime(le.Uint64(f.std[24:]))
		a.Flags = uint64(le.Uint32(f.std[32:]))
	}
	if s != nil {
		a.Size = s.size
		a.ID = id(f.num, s.name)
		a.Encrypted = s.flags&flagEncrypted != 0
	}
	if s != nil && s.name != "" {
		f.unix(&a)
		return a
	}
	if f.flags&recordDir != 0 {
		a.Type, a.Links, a.Size = fs.TypeDir, 1, f.indexLen
	}
	f.special(&a)
	f.unix(&a)
	return a
}

// entries lists the names of stream s; a stream of its own shows as "file:stream".
func (v *Volume) entries(f *file, a fs.Attr, s *stream) []fs.Dirent {
	if f.num == rootRecord && (s == nil || s.name == "") {
		return nil
	}
	var out []fs.Dirent
	for _, n := range f.names {
		if !v.holds(n.parent) {
			continue
		}
		d := fs.Dirent{Parent: id(n.parent.record(), ""), Name: n.name, Child: a.ID, Type: a.Type}
		if s != nil && s.name != "" {
			d.Name += ":" + s.name
		}
		out = append(out, d)
	}
	return out
}

// holds reports whether a reference to a directory is still good: its record may
// have been freed and used again.
func (v *Volume) holds(r reference) bool {
	if v.past != nil {
		if good, known := v.past(r); known {
			return good
		}
	}
	b, err := v.raw(r.record())
	return err == nil && le.Uint16(b[16:]) == r.seq() && le.Uint16(b[22:])&(recordInUse|recordDir) == recordInUse|recordDir
}

// find returns the file and the stream that d names.
func (v *Volume) find(d fs.ID) (*file, *stream, error) {
	f, err := v.file(d.Num)
	if f == nil {
		return nil, nil, err
	}
	if f.internal() {
		return nil, nil, fmt.Errorf("file record %d is the volume's own: %w", d.Num, fs.ErrNotFound)
	}
	if d.Space == 0 {
		return f, f.stream(""), err
	}
	for _, s := range f.streams {
		if s.name != "" && id(d.Num, s.name) == d {
			return f, s, err
		}
	}
	return nil, nil, errors.Join(err, fmt.Errorf("stream %v: %w", d, fs.ErrNotFound))
}

// State implements delta.Source. Names are those that the file has, not those
// that a directory holds.
func (v *Volume) State(d fs.ID) delta.State {
	f, s, err := v.find(d)
	if f == nil {
		return delta.State{Unknown: err != nil && !errors.Is(err, fs.ErrNotFound)}
	}
	st := delta.State{Attr: f.attr(s), Unknown: err != nil}
	if d.Space == 0 {
		st.Xattrs = f.xattrs()
	}
	st.Names = v.entries(f, st.Attr, s)
	if s != nil && st.Attr.Type == fs.TypeFile {
		st.Extents = v.extents(s)
	}
	return st
}
