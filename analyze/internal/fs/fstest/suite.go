package fstest

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// CheckTree reads everything on an image and compares it with its manifest.
func CheckTree(t testing.TB, open Opener, dev fs.Device, want []Entry, normal Normal) {
	t.Helper()
	got, m, err := Read(open, dev)
	require.NoError(t, err)
	require.Empty(t, m.Problems)
	require.Empty(t, m.Faults)
	d := Diff(want, got, normal)
	require.Empty(t, d[:min(len(d), 8)], "%d differences", len(d))
}

// CheckTrace applies a trace. At every mark that wants a manifest, the tree kept
// from deltas alone must be it, and a fresh crawl must find the same.
func CheckTrace(t testing.TB, open Opener, dev *fs.Overlay, log io.Reader, wants func(mark string) []Entry, normal Normal) *Run {
	t.Helper()
	r, err := Start(open, dev)
	require.NoError(t, err)
	tr, err := NewTrace(log)
	require.NoError(t, err)
	marks := 0
	err = r.Play(tr, func(name string) error {
		if !strings.HasPrefix(name, "cp") {
			return nil
		}
		marks++
		got, err := r.Model.Tree(r.FS, r.FS.Info().Root)
		require.NoError(t, err, name)
		d := Diff(wants(name), got, normal)
		require.Empty(t, d[:min(len(d), 8)], "%s: %d differences", name, len(d))
		fresh, err := r.Fresh()
		require.Empty(t, fresh, name)
		return err
	})
	require.NoError(t, err)
	require.Empty(t, r.Model.Faults)
	require.Empty(t, r.Model.Problems)
	require.NotZero(t, marks)
	t.Logf("%d marks, %d writes, %d transactions", marks, r.Writes, len(r.Model.Txs))
	return r
}

// xorshift is a small deterministic generator: the same mutants on every run.
type xorshift uint64

func (x *xorshift) next(n int) int {
	v := uint64(*x)
	v ^= v << 13
	v ^= v >> 7
	v ^= v << 17
	*x = xorshift(v)
	return int(v >> 1 % uint64(n))
}

// Mutate changes 1 to 40 bytes in one to four of the given pages.
func (s *Sparse) Mutate(seed uint64, pages []int64) {
	x := xorshift(seed*0x9E3779B97F4A7C15 | 1)
	for k := 1 + x.next(4); k > 0; k-- {
		p := s.Pages[pages[x.next(len(pages))]]
		for n := 1 + x.next(10); n > 0; n-- {
			at := x.next(len(p))
			switch x.next(3) {
			case 0:
				p[at] = byte(x.next(256))
			case 1:
				p[at] ^= 1 << x.next(8)
			default:
				p[at] = 0xff
			}
		}
	}
}

// Limit is how long any one damaged image may take.
const Limit = 20 * time.Second

// Within fails the test when f is not done in time; a panic fails it by itself.
func Within(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(Limit):
		t.Fatalf("%s: not done after %v", what, Limit)
	}
}

// Visit reads everything that can be read of a possibly damaged filesystem:
// errors are fine, panics and endless walks are not.
func Visit(open Opener, dev fs.Device) {
	f, err := open(dev, fs.Options{})
	if err != nil {
		return
	}
	m := NewModel()
	if f.Crawl(m) != nil {
		return
	}
	if r, ok := f.(fs.Residual); ok {
		_ = r.Residue(func(fs.Residue) {})
	}
	buf := make([]byte, 64<<10)
	for id := range m.Inodes {
		_, _ = f.Stat(id)
		_, _ = f.Xattrs(id)
		c, err := f.Content(id)
		if err != nil {
			continue
		}
		// The head and the tail: a size may be made up.
		for off, k := int64(0), 0; k < 8; k++ {
			n, err := c.ReadAt(buf, off)
			if n == 0 || err != nil {
				break
			}
			off += int64(n)
		}
		_, _ = c.ReadAt(buf, max(0, int64(c.Size())-int64(len(buf))))
	}
}

// CheckMutants damages the disk as the recording leaves it, in 100 ways, and its
// writes, in 20: reading ends, and does not panic.
func (rec Recording) CheckMutants(t testing.TB, open Opener) {
	t.Helper()
	disk := rec.Base.Clone()
	Apply(t, disk, rec.Log) // so that there is something to damage
	pages := disk.NonZero(1 << 20)
	require.NotEmpty(t, pages)
	for seed := range uint64(100) {
		s := disk.Clone()
		s.Mutate(seed+1, pages)
		Within(t, "mutant", func() { Visit(open, s.Overlay()) })
	}
	for seed := 1; seed <= 20; seed++ {
		x := xorshift(uint64(seed)*0x9E3779B97F4A7C15 | 1)
		Within(t, "mutant trace", func() {
			r, err := Start(open, rec.Base.Overlay())
			if err != nil {
				return
			}
			tr, err := NewTrace(bytes.NewReader(rec.Log))
			if err != nil {
				return
			}
			for {
				s, err := tr.Next()
				if err != nil {
					return
				}
				if d := s.Write.Data; len(d) > 0 && x.next(4) == 0 {
					for k := x.next(20); k >= 0; k-- {
						d[x.next(len(d))] ^= byte(1 + x.next(255))
					}
				}
				if x.next(16) == 0 {
					continue // a lost write
				}
				if r.Step(s) != nil {
					return
				}
			}
		})
	}
}

// NonZero lists the pages of the disk that hold anything, ascending, below limit.
func (s *Sparse) NonZero(limit int64) []int64 {
	var out []int64
	for n := int64(0); n*4096 < s.Bytes && n < limit; n++ {
		if s.Pages[n] != nil {
			out = append(out, n)
		}
	}
	return out
}

// Apply stores every write of a trace on a disk.
func Apply(t testing.TB, disk *Sparse, log []byte) {
	t.Helper()
	tr, err := NewTrace(bytes.NewReader(log))
	require.NoError(t, err)
	for {
		s, err := tr.Next()
		if err == io.EOF {
			return
		}
		require.NoError(t, err)
		_, err = disk.WriteAt(s.Write.Data, int64(s.Write.Off))
		require.NoError(t, err)
	}
}
