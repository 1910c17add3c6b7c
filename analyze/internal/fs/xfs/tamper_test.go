package xfs

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/fstest"
)

// TestTampering writes an inode in place behind the filesystem's back, as a
// debugger on the raw device would: it shows, and is told apart from what the
// log had announced. Writing it again changes nothing.
func TestTampering(t *testing.T) {
	rec := small(t)
	r := rec.Check(t, Open, normal)
	require.Empty(t, r.Model.Problems, "what the kernel wrote in place the log had announced")
	x := r.FS.(*xfs)
	var victim fs.Attr
	for _, a := range r.Model.Inodes {
		if a.Type == fs.TypeFile && (victim.ID.Num == 0 || a.ID.Num < victim.ID.Num) {
			victim = a
		}
	}
	require.NotZero(t, victim.ID.Num)
	off, ok := x.vol.sb.inodeOffset(victim.ID.Num)
	require.True(t, ok)
	raw, err := x.vol.read(off, int(x.vol.sb.InodeSize))
	require.NoError(t, err)
	be.PutUint16(raw[2:], TypeRegular|0o4755)
	setCRC(raw, 100)
	for k := range 2 {
		w := fs.Write{Stamp: fs.Stamp{Seq: uint64(1e6 + k)}, Off: uint64(off), Len: uint64(len(raw)), Data: raw}
		require.NoError(t, r.Step(fstest.Step{Write: w}))
	}
	require.Len(t, r.Model.Problems, 1)
	require.Equal(t, fs.ProblemTamper, r.Model.Problems[0].Kind)
	require.Equal(t, victim.ID, r.Model.Problems[0].ID)
	last := r.Model.Txs[len(r.Model.Txs)-1]
	require.Equal(t, fs.BasisWrite, last.Basis)
	require.Equal(t, uint16(0o4755), last.Inodes[0].New.Mode)
	require.Equal(t, victim, last.Inodes[0].Old)
	require.Empty(t, r.Model.Faults)
}
