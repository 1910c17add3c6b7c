package memory_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture/fakexen"
	"github.com/xentape/xentape/capture/memory"
	"github.com/xentape/xentape/format"
)

// spoolFile is a file in memory.
type spoolFile struct {
	b     []byte
	fails func() error // says whether a write fails
	wrote func(p []byte)
}

func (f *spoolFile) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(f.b).ReadAt(p, off)
}

func (f *spoolFile) WriteAt(p []byte, off int64) (int, error) {
	if f.fails != nil {
		if err := f.fails(); err != nil {
			return 0, err
		}
	}
	if n := int(off) + len(p); n > len(f.b) {
		f.b = append(f.b, make([]byte, n-len(f.b))...)
	}
	n := copy(f.b[off:], p)
	if f.wrote != nil {
		f.wrote(p)
	}
	return n, nil
}

func (f *spoolFile) Truncate(n int64) error {
	f.b = f.b[:n]
	return nil
}

// TestSpoolThatFails: whichever write to it fails, and however much of the pause goes
// through it, the snapshots are right, or fuzzy and the next is right.
func TestSpoolThatFails(t *testing.T) {
	for left := 0; ; left += 1 + left/4 {
		host := fakexen.NewHost(fakexen.NewHVM(guestID, sequence(0, 1100)...))
		n, failed := uint64(0), false
		r := record(t, host, func(c *memory.Config) { c.StashBytes = 16 * format.PageSize })
		r.spool.fails = func() error {
			if n++; n == uint64(left)+1 {
				failed = true
				return errors.New("no room on the device")
			}
			return nil
		}
		wrote := uint64(0)
		host.OnMap = func(d uint16) { // so that the pause has more to read than the stash takes
			for range 100 {
				wrote += 977
				host.GuestWrite(d, wrote%1100, []byte{byte(wrote), byte(wrote >> 8), 3})
			}
		}
		first := r.snapshot()
		host.OnMap = nil
		at := contents(host, sequence(0, 1100))
		host.GuestWrite(guestID, 12, []byte("since then"))
		require.False(t, r.snapshot().Fuzzy)
		want := contents(host, sequence(0, 1100))
		rd := r.reader()
		if !first.Fuzzy {
			requireImage(t, rd, 1, at)
		}
		requireImage(t, rd, 2, want)
		if !failed {
			require.Greater(t, left, 8, "the spool was hardly used")
			break
		}
	}
}

// TestCapturedSnapshotOutlivesItsRecorder: what there is when the spool says that it
// has all of a snapshot is enough, though nothing of it is on the tape.
func TestCapturedSnapshotOutlivesItsRecorder(t *testing.T) {
	for name, domain := range map[string]*fakexen.Domain{
		"hvm": fakexen.NewHVM(guestID, sparse()...),
		"pv":  fakexen.NewPV(guestID, 700),
	} {
		t.Run(name, func(t *testing.T) {
			host := fakexen.NewHost(domain)
			pages := sparse()
			if name == "pv" {
				pages = sequence(0, 700)
			}
			r := record(t, host, nil)
			r.snapshot()
			host.GuestWrite(guestID, 17, []byte("changed"))
			var tape, spool []byte
			r.spool.wrote = func(p []byte) {
				if len(p) > 0 && p[0] == 3 { // SPEC.md §9.1: the end, with all else in the tape's file
					tape, spool = bytes.Clone(r.tape.Bytes()), bytes.Clone(r.spool.b)
				}
			}
			r.snapshot()
			want := contents(host, pages)
			r.reader()
			var saved bytes.Buffer
			rep, err := format.Salvage(&saved, bytes.NewReader(tape), int64(len(tape)), format.SalvageOptions{
				Spool: bytes.NewReader(spool), SpoolSize: int64(len(spool)),
			})
			require.NoError(t, err)
			require.True(t, rep.Spooled.Needed)
			require.True(t, rep.Spooled.Whole)
			v, err := format.Verify(bytes.NewReader(saved.Bytes()), int64(saved.Len()), format.VerifyOptions{})
			require.NoError(t, err)
			require.True(t, v.OK)
			rd, err := format.Open(bytes.NewReader(saved.Bytes()), int64(saved.Len()), format.ReaderOptions{})
			require.NoError(t, err)
			requireImage(t, rd, 2, want)
			s, err := rd.Snapshot(2)
			require.NoError(t, err)
			require.True(t, s.Info().End.Complete)
			require.Contains(t, s.Attachments(), "xen/vcpu/0")
		})
	}
}
