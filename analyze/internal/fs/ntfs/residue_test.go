package ntfs

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/fstest"
	"github.com/xentape/xentape/corpus/need"
)

// residue gathers what f's directories hold, by kind.
func residue(t *testing.T, f fs.Filesystem) map[fs.ResidueKind][]fs.Residue {
	out := map[fs.ResidueKind][]fs.Residue{}
	require.NoError(t, f.(fs.Residual).Residue(func(r fs.Residue) { out[r.Kind] = append(out[r.Kind], r) }))
	return out
}

// transient is what ntfs-3g calls a file while it renames it over another: a name that
// was there for less than the disk was told.
var transient = regexp.MustCompile(`\.ntfs-3g-[0-9]{10}$`)

// TestRemovedNames: what directories hold of removed names was there once and is no
// more, by what was followed; and directories and files agree.
func TestRemovedNames(t *testing.T) {
	dir := os.DirFS(need.Recording(t, "disk", "ntfs-attack", "ntfs-attack"))
	run := fstest.CheckFolder(t, Open, dir, normal)
	gone := map[fs.Dirent]bool{}
	for _, tx := range run.Model.Txs {
		for _, d := range tx.Removed {
			gone[fs.Dirent{Parent: d.Parent, Name: d.Name}] = true
		}
	}
	got := residue(t, run.FS)
	require.Empty(t, got[fs.ResidueUnlisted])
	require.Empty(t, got[fs.ResidueDangling])
	require.NotEmpty(t, got[fs.ResidueRemoved])
	before := 0
	for _, r := range got[fs.ResidueRemoved] {
		_, there := run.Model.Names[r.Dir][r.Name]
		require.False(t, there, "%+v", r)
		if !gone[fs.Dirent{Parent: r.Dir, Name: r.Name}] {
			if transient.MatchString(r.Name) {
				continue
			}
			// What the disk was filled with before the recording; every seventh was removed.
			require.Regexp(t, "^entry-[0-9]{6}-y*$", r.Name)
			n, err := strconv.Atoi(r.Name[6:12])
			require.NoError(t, err)
			require.Zero(t, n%7)
			before++
		}
	}
	require.NotZero(t, before)
	t.Logf("%d names, %d of them removed before the recording; %d were removed in it", len(got[fs.ResidueRemoved]), before, len(gone))
}

// TestRemovedEntries takes the last two names out of a node as Windows does: the entry
// that ends it moves to the place of the first of them, whose head it covers.
func TestRemovedEntries(t *testing.T) {
	disk := fstest.LoadImage(t, testdata, "tree").Clone()
	f, err := Open(disk.Overlay(), fs.Options{})
	require.NoError(t, err)
	v := f.(*ntfs).vol
	dir, node := largest(t, v)
	require.Greater(t, len(node), 2)
	block := int64(node[0].off) &^ 4095 // the volume's index blocks have 4096 bytes
	b := make([]byte, 4096)
	_, err = disk.ReadAt(b, block)
	require.NoError(t, err)
	one, two := node[len(node)-2], node[len(node)-1]
	end := int64(two.off) - block + int64(le.Uint16(b[int64(two.off)-block+8:]))
	require.NotZero(t, le.Uint16(b[end+12:])&entryLast)
	last := bytes.Clone(b[end : end+int64(le.Uint16(b[end+8:]))])
	copy(b[int64(one.off)-block:], last)
	le.PutUint32(b[indexBlockHead+4:], uint32(int64(one.off)-block-indexBlockHead)+uint32(len(last)))
	_, err = disk.WriteAt(b, block)
	require.NoError(t, err)
	for _, e := range node[len(node)-2:] { // and the files go
		at, c := e.child.record()*uint64(v.boot.RecordSize), v.boot.Cluster
		i := slices.IndexFunc(v.mft, func(r run) bool { return at >= r.vcn*c && at < (r.vcn+r.count)*c })
		_, err = disk.WriteAt([]byte{0, 0}, int64(v.mft[i].lcn*c+at-v.mft[i].vcn*c)+22)
		require.NoError(t, err)
	}

	f, err = Open(disk.Overlay(), fs.Options{})
	require.NoError(t, err)
	got := residue(t, f)
	require.Empty(t, got[fs.ResidueUnlisted])
	require.Empty(t, got[fs.ResidueDangling])
	var names []string
	for _, r := range got[fs.ResidueRemoved] {
		if r.Dir.Num != dir {
			continue
		}
		names = append(names, r.Name)
		switch r.Name {
		case one.name:
			require.Zero(t, r.Child)
			require.Equal(t, one.mTime, r.MTime)
		case two.name:
			require.Equal(t, id(two.child.record(), ""), r.Child)
			require.Equal(t, two.size, r.Size)
		}
	}
	require.Contains(t, names, one.name)
	require.Contains(t, names, two.name)
}

// largest finds the entries of the fullest node outside a file record that has only
// names below 256 bytes of its sectors, and its directory.
func largest(t *testing.T, v *Volume) (dir uint64, out []indexEntry) {
	for num := uint64(firstUser); num < v.records(); num++ {
		f, _ := v.file(num)
		if f == nil || f.flags&recordDir == 0 {
			continue
		}
		x, err := v.directory(f)
		require.NoError(t, err)
		nodes, left := map[uint64][]indexEntry{}, 1000
		require.NoError(t, v.indexed(f, x, &left, func(e indexEntry) {
			if e.off != 0 && !e.removed {
				nodes[e.off/4096] = append(nodes[e.off/4096], e)
			}
		}))
		for _, n := range nodes {
			if len(n) > len(out) || len(n) == len(out) && n[0].off < out[0].off {
				dir, out = num, n
			}
		}
	}
	return dir, out
}

// TestIndexAgainstFiles: an entry made to name another file hides the file it named,
// and dangles.
func TestIndexAgainstFiles(t *testing.T) {
	disk := fstest.LoadImage(t, testdata, "tree").Clone()
	open := func() (*ntfs, map[fs.ResidueKind][]fs.Residue) {
		f, err := Open(disk.Overlay(), fs.Options{})
		require.NoError(t, err)
		return f.(*ntfs), residue(t, f)
	}
	n, got := open()
	require.Empty(t, got[fs.ResidueUnlisted])
	require.Empty(t, got[fs.ResidueDangling])

	var victim indexEntry
	for num := uint64(firstUser); num < n.vol.records() && victim.off == 0; num++ {
		f, _ := n.vol.file(num)
		if f == nil || f.flags&recordDir == 0 {
			continue
		}
		x, err := n.vol.directory(f)
		require.NoError(t, err)
		left := 100
		require.NoError(t, n.vol.indexed(f, x, &left, func(e indexEntry) {
			if e.off != 0 && !e.removed && !e.dir && e.off%sectorSize < 256 {
				victim = e
			}
		}))
	}
	require.NotZero(t, victim.off)
	b := make([]byte, 8)
	le.PutUint64(b, uint64(victim.child)+1<<48) // the next life of its record
	_, err := disk.WriteAt(b, int64(victim.off))
	require.NoError(t, err)

	_, got = open()
	require.Len(t, got[fs.ResidueUnlisted], 1)
	require.Equal(t, victim.name, got[fs.ResidueUnlisted][0].Name)
	require.Equal(t, victim.child.record(), got[fs.ResidueUnlisted][0].Child.Num)
	require.Len(t, got[fs.ResidueDangling], 1)
	require.Equal(t, victim.off, got[fs.ResidueDangling][0].Off)

	// A block that cannot be read makes nothing hidden: it could not be looked at.
	_, err = disk.WriteAt([]byte("BAAD"), int64(victim.off&^4095))
	require.NoError(t, err)
	f, err := Open(disk.Overlay(), fs.Options{})
	require.NoError(t, err)
	require.ErrorIs(t, f.(fs.Residual).Residue(func(r fs.Residue) { require.NotEqual(t, fs.ResidueUnlisted, r.Kind) }), fs.ErrCorrupt)
}

// TestIndexOfNothing: an index that says it is 2 EiB large, and has one block at its far
// end, is as much work as that block.
func TestIndexOfNothing(t *testing.T) {
	v, err := OpenVolume(fstest.LoadImage(t, testdata, "tree"))
	require.NoError(t, err)
	f, err := v.file(rootRecord)
	require.NoError(t, err)
	x, err := v.directory(f)
	require.NoError(t, err)
	x.block, x.size = 4096, 1<<61
	x.runs = []run{{vcn: 0, count: 1 << 48, sparse: true}, {vcn: 1 << 48, lcn: 1, count: 1}}
	fstest.Within(t, "an index of holes", func() {
		left := 10
		require.NoError(t, v.indexed(f, x, &left, func(indexEntry) {}))
		require.Equal(t, 9, left)
	})
}

// FuzzIndexNode: entries lie inside the node, and its end is reached.
func FuzzIndexNode(f *testing.F) {
	v, err := OpenVolume(fstest.LoadImage(f, testdata, "tree"))
	require.NoError(f, err)
	for num := uint64(rootRecord); num < v.records(); num++ {
		d, _ := v.file(num)
		if d == nil || d.flags&recordDir == 0 {
			continue
		}
		x, err := v.directory(d)
		require.NoError(f, err)
		f.Add(x.root[indexRootHead:], num, true)
		b := make([]byte, x.block)
		for k := uint64(0); (k+1)*x.block <= x.size && k < 3; k++ {
			require.NoError(f, v.readRuns(x.runs, b, k*x.block))
			require.NoError(f, fixup(b))
			f.Add(bytes.Clone(b[indexBlockHead:]), num, k%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, num uint64, used bool) {
		d, _ := v.file(num)
		if d == nil || len(b) < indexHead {
			return
		}
		last := uint64(0)
		_ = v.node(d, b, 1<<30, used, func(e indexEntry) {
			at, head := e.off-1<<30, uint64(entryHead)
			if e.removed && e.child == 0 {
				head = 0
			}
			require.LessOrEqual(t, last, at)
			last = at + head + nameHead
			require.LessOrEqual(t, last, uint64(len(b)))
		})
	})
}
