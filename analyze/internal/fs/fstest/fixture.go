package fstest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"path"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Recording is a base image, the writes that followed and the tree at each mark.
type Recording struct {
	Base  *Sparse
	Log   []byte
	Marks map[string][]Entry // by the name of the mark
}

// unpack decompresses one zstd file.
func unpack(t testing.TB, files iofs.FS, name string) []byte {
	t.Helper()
	b, err := iofs.ReadFile(files, name)
	require.NoError(t, err)
	d, err := zstd.NewReader(bytes.NewReader(b))
	require.NoError(t, err)
	defer d.Close()
	b, err = io.ReadAll(d)
	require.NoError(t, err)
	require.NotEmpty(t, b, name)
	return b
}

// Unpack opens a recording kept as one file, a folder of base.img, log, man/ and
// ops.jsonl.
func Unpack(t testing.TB, files iofs.FS, name string) iofs.FS {
	t.Helper()
	folder := fstest.MapFS{}
	for r := tar.NewReader(bytes.NewReader(unpack(t, files, name))); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return folder
		}
		require.NoError(t, err)
		if h.Typeflag == tar.TypeDir {
			continue
		}
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		folder[path.Clean("/" + h.Name)[1:]] = &fstest.MapFile{Data: b, Mode: 0o644}
	}
}

// LoadImage reads the disk image NAME.img.zst.
func LoadImage(t testing.TB, files iofs.FS, name string) *Sparse {
	t.Helper()
	s, err := NewSparse(bytes.NewReader(unpack(t, files, name+".img.zst")))
	require.NoError(t, err)
	require.NotEmpty(t, s.Pages)
	return s
}

// LoadManifest reads the tree on an image, NAME.man.zst.
func LoadManifest(t testing.TB, files iofs.FS, name string) []Entry {
	t.Helper()
	m, err := ReadManifest(bytes.NewReader(unpack(t, files, name+".man.zst")))
	require.NoError(t, err)
	return m
}

// LoadRecording reads NAME.base.img.zst, NAME.log.zst and NAME.man.zst. The last
// holds the manifests of the marks cp0000, cp0001 ... one after the other; each
// begins at path "/".
func LoadRecording(t testing.TB, files iofs.FS, name string) Recording {
	t.Helper()
	r := Recording{Base: LoadImage(t, files, name+".base"), Log: unpack(t, files, name+".log.zst"), Marks: map[string][]Entry{}}
	mark := ""
	for _, e := range LoadManifest(t, files, name) {
		if e.Path == "/" {
			mark = fmt.Sprintf("cp%04d", len(r.Marks))
		}
		r.Marks[mark] = append(r.Marks[mark], e)
	}
	return r
}

// Overlay is the disk with no write on it.
func (s *Sparse) Overlay() *fs.Overlay {
	return fs.NewOverlay(uint64(s.Bytes), Image{R: s, Size: s.Bytes}, nil)
}

// Check plays the recording: see CheckTrace.
func (rec Recording) Check(t testing.TB, open Opener, normal Normal) *Run {
	t.Helper()
	return CheckTrace(t, open, rec.Base.Overlay(), bytes.NewReader(rec.Log), func(m string) []Entry { return rec.Marks[m] }, normal)
}

// CheckFolder plays a recording too large to be loaded: base.img, log, and
// man/MARK.jsonl for each mark, in a folder.
func CheckFolder(t testing.TB, open Opener, files iofs.FS, normal Normal) *Run {
	t.Helper()
	file := func(name string) iofs.File {
		f, err := files.Open(name)
		require.NoError(t, err)
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	base := file("base.img")
	st, err := base.Stat()
	require.NoError(t, err)
	at, ok := base.(io.ReaderAt)
	require.True(t, ok, "a file that can be read anywhere")
	dev := fs.NewOverlay(uint64(st.Size()), Image{R: at, Size: st.Size()}, nil)
	return CheckTrace(t, open, dev, file("log"), func(mark string) []Entry {
		m, err := ReadManifest(file("man/" + mark + ".jsonl"))
		require.NoError(t, err)
		require.NotEmpty(t, m)
		return m
	}, normal)
}

// CheckImage reads everything on an image and compares it with its manifest.
func CheckImage(t testing.TB, open Opener, files iofs.FS, name string, normal Normal) {
	t.Helper()
	CheckTree(t, open, LoadImage(t, files, name).Overlay(), LoadManifest(t, files, name), normal)
}
