package ntfs

import (
	"bytes"
	"encoding/binary"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/fstest"
)

// pairs is a mapping pairs array, fields of eight bytes.
func pairs(runs []run) []byte {
	var b []byte
	at := uint64(0)
	for _, r := range runs {
		b = append(b, 0x08)
		b = binary.LittleEndian.AppendUint64(b, r.count)
		if !r.sparse {
			b[len(b)-9] = 0x88
			b = binary.LittleEndian.AppendUint64(b, r.lcn-at)
			at = r.lcn
		}
	}
	return append(b, 0)
}

// without is the record of the change journal with all before cluster vcn of the journal
// given back, as Windows does at the start when it has grown by so much.
func without(t *testing.T, v *Volume, num, vcn uint64) *fs.Write {
	b, err := v.raw(num)
	require.NoError(t, err)
	usn := [2]byte(b[le.Uint16(b[4:]):])
	require.NoError(t, fixup(b))
	f, err := v.file(num)
	require.NoError(t, err)
	runs := []run{{count: vcn, sparse: true}}
	for _, r := range f.stream(journalStream).runs {
		if cut := max(r.vcn, vcn); cut < r.vcn+r.count {
			runs = append(runs, run{vcn: cut, lcn: r.lcn + cut - r.vcn, count: r.vcn + r.count - cut, sparse: r.sparse})
		}
	}
	at := int(le.Uint16(b[20:]))
	for le.Uint32(b[at:]) != attrData || b[at+8] == 0 {
		require.NotEqual(t, uint32(attrEnd), le.Uint32(b[at:]))
		at += int(le.Uint32(b[at+4:]))
	}
	n, used := int(le.Uint32(b[at+4:])), int(le.Uint32(b[24:]))
	head, tail := bytes.Clone(b[at:][:le.Uint16(b[at+32:])]), bytes.Clone(b[at+n:used])
	a := append(head, pairs(runs)...)
	for len(a)%8 != 0 {
		a = append(a, 0)
	}
	le.PutUint32(a[4:], uint32(len(a)))
	clear(b[at:])
	copy(b[at:], append(a, tail...))
	le.PutUint32(b[24:], uint32(used+len(a)-n))
	for k := sectorSize; k <= len(b); k += sectorSize {
		list := b[int(le.Uint16(b[4:]))+2*(k/sectorSize):]
		copy(list, b[k-2:k])
		copy(b[k-2:k], usn[:])
	}
	off := v.mft[0].lcn*v.boot.Cluster + num*uint64(v.boot.RecordSize)
	require.Less(t, num*uint64(v.boot.RecordSize), v.mft[0].count*v.boot.Cluster)
	return &fs.Write{Op: fs.OpWrite, Off: off, Len: uint64(len(b)), Data: b}
}

// told lists what the change journal told of.
func told(m *fstest.Model) []fs.Told {
	var out []fs.Told
	for _, tx := range m.Txs {
		for _, x := range tx.Told {
			x.At = fs.Stamp{}
			out = append(out, x)
		}
	}
	return out
}

// TestJournalGivesBackItsStart: the change journal keeps telling everything once while its
// start is given back as it grows; what was given back before it could be read is missing,
// and that is said.
func TestJournalGivesBackItsStart(t *testing.T) {
	files := fstest.Unpack(t, os.DirFS("../../../files/testdata"), "usnjrnl.tar.zst")
	log, err := files.Open("log")
	require.NoError(t, err)
	defer log.Close()
	image, err := files.Open("base.img")
	require.NoError(t, err)
	defer image.Close()
	disk, err := fstest.NewSparse(image)
	require.NoError(t, err)
	tr, err := fstest.NewTrace(log)
	require.NoError(t, err)
	var steps []fstest.Step
	for s, err := tr.Next(); err == nil; s, err = tr.Next() {
		s.Write.Data = bytes.Clone(s.Write.Data)
		steps = append(steps, s)
	}
	type result struct {
		told     []fs.Told
		problems []fs.Problem
		from, to uint64 // what was given back and had not been read
	}
	// play applies the trace. After so many marks it looks away until the journal has grown
	// by more than ahead bytes, and then gives back all before there.
	play := func(after int, ahead uint64) (out result) {
		r, err := fstest.Start(Open, disk.Overlay())
		require.NoError(t, err)
		n, marks, done := r.FS.(*ntfs), 0, false
		for _, s := range steps {
			if s.Mark != "" {
				marks++
			}
			grown := marks >= after && !done && s.Mark != ""
			if grown && ahead > 0 {
				require.NoError(t, n.journal.attach(n.vol, must(n.vol.file(n.journal.num)), false))
				if grown = n.journal.next+ahead+usnPage < n.journal.end(n.vol); !grown {
					continue
				}
			}
			if grown {
				done = true
				c := n.vol.boot.Cluster
				at := (n.journal.next + ahead) / usnPage * usnPage
				out.from, out.to = n.journal.next, at
				require.Zero(t, at%c)
				if ahead == 0 {
					require.NoError(t, r.Step(s))
				}
				require.NoError(t, r.Step(fstest.Step{Write: *without(t, n.vol, n.journal.num, at/c), Flush: true}))
				fresh, err := r.Fresh()
				require.NoError(t, err)
				require.Empty(t, fresh)
				continue
			}
			require.NoError(t, r.Step(s))
		}
		require.Equal(t, after < 20, done)
		return result{told(r.Model), r.Model.Problems, out.from, out.to}
	}
	whole := play(20, 0)
	require.Greater(t, len(whole.told), 100)
	require.Empty(t, whole.problems)
	for after := 1; after < 11; after++ {
		got := play(after, 0)
		require.Equal(t, whole.told, got.told, "given back to the page read last, after mark %d", after)
		require.Empty(t, got.problems)
	}
	for after := 1; after < 4; after++ {
		got := play(after, 3*usnPage)
		want := slices.DeleteFunc(slices.Clone(whole.told), func(x fs.Told) bool { return x.Number >= got.from && x.Number < got.to })
		require.Less(t, len(want), len(whole.told), "after mark %d", after)
		left, behind := got.told, false
		for _, x := range want { // a later record repeats what one that is gone said first
			first := x.Number >= got.to && !behind
			if behind = behind || first; first && x.Op == fs.ToldRename {
				continue // its old name is gone
			}
			k := slices.IndexFunc(left, func(y fs.Told) bool { return reflect.DeepEqual(x, y) })
			require.GreaterOrEqual(t, k, 0, "after mark %d: %+v", after, x)
			left = left[k+1:]
		}
		require.False(t, slices.ContainsFunc(got.told, func(x fs.Told) bool { return x.Number >= got.from && x.Number < got.to }))
		require.Len(t, got.problems, 1)
		require.Equal(t, fs.ProblemUnknown, got.problems[0].Kind)
		require.Contains(t, got.problems[0].Text, "given back before they could be read")
	}
}

func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}
