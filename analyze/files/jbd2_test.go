package files

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/corpus/need"
	"github.com/xentape/xentape/format"
)

// journaled makes block writes as a mounted ext4 does: file data in place, then
// a transaction in the log. mke2fs makes the filesystem, so that other tools can
// be given the same disk.
type journaled struct {
	t      testing.TB
	image  string
	block  int
	log    []uint64 // the log's blocks
	at     int      // next block of the log
	tid    uint32
	seq    uint64
	tables map[uint64][]byte // inode table blocks as last committed
	files  []fileAt
	noise  []byte
	r      *rand.Rand
	feed   func(*format.DiskRequest)
}

// fileAt is where a file's inode and first extent are.
type fileAt struct {
	table uint64 // block
	off   int    // in it
	data  uint64 // first block
	count int    // blocks in the first extent
}

// newJournaled makes a filesystem of n files of size bytes each.
func newJournaled(t testing.TB, n, size int, disk string) *journaled {
	need.Tool(t, "e2fsprogs", "mke2fs")
	j := &journaled{t: t, image: filepath.Join(t.TempDir(), "disk.img"), block: 4096, at: 1, tid: 1,
		tables: map[uint64][]byte{}, noise: make([]byte, 8<<20), r: rand.New(rand.NewSource(1))}
	j.r.Read(j.noise)
	tree := t.TempDir()
	for i := range n {
		dir := filepath.Join(tree, fmt.Sprintf("dir%04d", i/500))
		if i%500 == 0 {
			require.NoError(t, os.Mkdir(dir, 0o755))
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%06d", i)), j.noise[i*37%4096:][:size], 0o644))
	}
	out, err := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-J", "size=64", "-O", "^metadata_csum,^64bit,^inline_data",
		"-N", strconv.Itoa(n+n/4+1000), "-d", tree, j.image, disk).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.RemoveAll(tree))
	out, err = exec.Command("debugfs", "-R", "blocks <8>", j.image).Output()
	require.NoError(t, err)
	for b := range strings.FieldsSeq(string(out)) {
		v, err := strconv.ParseUint(b, 10, 64)
		require.NoError(t, err)
		j.log = append(j.log, v)
	}
	j.find()
	require.Len(t, j.files, n)
	return j
}

// find reads the inode tables for files whose content is in one extent.
func (j *journaled) find() {
	f, err := os.Open(j.image)
	require.NoError(j.t, err)
	defer f.Close()
	read := func(b uint64) []byte {
		p := make([]byte, j.block)
		_, err := f.ReadAt(p, int64(b)*int64(j.block))
		require.NoError(j.t, err)
		return p
	}
	le := binary.LittleEndian
	sb := read(0)[1024:]
	blocks, perGroup, inodes, isize := le.Uint32(sb[4:]), le.Uint32(sb[0x20:]), le.Uint32(sb[0x28:]), int(le.Uint16(sb[0x58:]))
	for g := uint32(0); g < (blocks+perGroup-1)/perGroup; g++ {
		d := read(1 + uint64(g)*32/uint64(j.block))[g*32%uint32(j.block):]
		table := uint64(le.Uint32(d[8:]))
		used := inodes - uint32(le.Uint16(d[0x1c:])) // bg_itable_unused
		for k := uint32(0); k < used; k += uint32(j.block / isize) {
			b := table + uint64(int(k)*isize/j.block)
			raw := read(b)
			for off := 0; off < j.block; off += isize {
				i := raw[off:]
				if g == 0 && int(k)+off/isize < 11 || le.Uint16(i)&0xf000 != 0x8000 || le.Uint16(i[0x2a:]) == 0 {
					continue
				}
				j.files = append(j.files, fileAt{b, off, uint64(le.Uint32(i[0x3c:])), int(le.Uint16(i[0x38:]))})
			}
			j.tables[b] = raw
		}
	}
}

func (j *journaled) write(block uint64, data []byte) {
	j.seq++
	j.feed(&format.DiskRequest{Stamp: format.Stamp{Seq: j.seq, Time: int64(j.seq) * 1e6}, ID: j.seq, Op: format.DiskWrite,
		Flags: format.DiskApplied, Offset: block * uint64(j.block), Length: uint64(len(data)), Data: data})
}

// mount says in both superblocks that the log is in use.
func (j *journaled) mount() {
	f, err := os.Open(j.image)
	require.NoError(j.t, err)
	defer f.Close()
	b := make([]byte, j.block)
	_, err = f.ReadAt(b, 0)
	require.NoError(j.t, err)
	b[1024+0x60] |= 4 // needs_recovery
	j.write(0, b)
	s := make([]byte, j.block)
	_, err = f.ReadAt(s, int64(j.log[0])*int64(j.block))
	require.NoError(j.t, err)
	binary.BigEndian.PutUint32(s[0x18:], j.tid)
	binary.BigEndian.PutUint32(s[0x1c:], 1)
	j.write(j.log[0], s)
}

// commit overwrites n files with fresh content and commits their new times and
// modes; it returns the bytes written.
func (j *journaled) commit(n, size int) int {
	before, le := j.seq, binary.LittleEndian
	changed, order, bytes := map[uint64]bool{}, []uint64(nil), 0
	for range n {
		f := j.files[j.r.Intn(len(j.files))]
		if k := min(size, f.count*j.block); k > 0 {
			k = (k + j.block - 1) / j.block * j.block
			j.write(f.data, j.noise[j.r.Intn(len(j.noise)-k):][:k])
			bytes += k
		}
		if !changed[f.table] {
			changed[f.table], order = true, append(order, f.table)
			j.tables[f.table] = append([]byte(nil), j.tables[f.table]...)
		}
		i := j.tables[f.table][f.off:]
		le.PutUint16(i, le.Uint16(i)^0o011)
		for _, at := range []int{0xc, 0x10} { // ctime, mtime
			le.PutUint32(i[at:], 1800000000+j.tid)
		}
	}
	j.transaction(order)
	return bytes + int(j.seq-before)*512
}

// transaction commits inode table blocks as they are in tables.
func (j *journaled) transaction(order []uint64) {
	be := binary.BigEndian
	for len(order) > 0 { // as many tags as a descriptor holds
		k := min(len(order), (j.block-12-16)/8)
		d := make([]byte, j.block)
		be.PutUint32(d, 0xc03b3998)
		be.PutUint32(d[4:], 1)
		be.PutUint32(d[8:], j.tid)
		o := 12
		for x, b := range order[:k] {
			be.PutUint32(d[o:], uint32(b))
			flags := uint16(0)
			if x > 0 {
				flags |= 2
			}
			if x == k-1 {
				flags |= 8
			}
			be.PutUint16(d[o+6:], flags)
			if o += 8; x == 0 {
				o += 16
			}
		}
		j.append(d)
		for _, b := range order[:k] {
			j.append(j.tables[b])
		}
		order = order[k:]
	}
	c := make([]byte, j.block)
	be.PutUint32(c, 0xc03b3998)
	be.PutUint32(c[4:], 2)
	be.PutUint32(c[8:], j.tid)
	be.PutUint64(c[0x30:], uint64(1800000000+j.tid))
	j.append(c)
	j.tid++
}

func (j *journaled) append(b []byte) {
	j.write(j.log[j.at], b)
	if j.at++; j.at >= len(j.log) {
		j.at = 1
	}
}

// TestEndOvertakesBytes: what is appended to a block while a transaction is committed is
// on the disk before the size that counts it, which comes with the next transaction.
func TestEndOvertakesBytes(t *testing.T) {
	j := newJournaled(t, 1, 1000, "200M")
	f, le := j.files[0], binary.LittleEndian
	st, err := os.Stat(j.image)
	require.NoError(t, err)
	base, err := os.Open(j.image)
	require.NoError(t, err)
	defer base.Close()
	a, err := New(uint64(st.Size()), &fileImage{base, st.Size()}, Options{Disk: "xvda", Hash: true})
	require.NoError(t, err)
	j.feed = func(r *format.DiskRequest) { require.NoError(t, a.Feed(r)) }
	commit := func(size, at uint32) []Event {
		i := j.tables[f.table][f.off:]
		le.PutUint32(i[4:], size)
		le.PutUint32(i[0xc:], at)
		le.PutUint32(i[0x10:], at)
		j.transaction([]uint64{f.table})
		return a.Events()
	}
	j.mount()
	content := append(bytes.Clone(j.noise[:1000]), "one line more\n"...)
	j.write(f.data, append(bytes.Clone(content), make([]byte, j.block-len(content))...))
	first := commit(1000, 1800000001)
	require.Len(t, first, 1)
	require.Equal(t, []fs.Range{{Len: 1000}}, first[0].Ranges)
	second := commit(uint32(len(content)), 1800000001)
	require.Len(t, second, 1)
	e := second[0]
	require.Equal(t, OpWrite, e.Op)
	require.True(t, e.Shown)
	require.Equal(t, []fs.Range{{Off: 1000, Len: 14}}, e.Ranges)
	require.Equal(t, uint64(1000), *e.SizeOld)
	require.Equal(t, fmt.Sprintf("%x", sha256.Sum256(content)), e.SHA256New)
	require.Equal(t, fmt.Sprintf("%x", sha256.Sum256(content[:1000])), e.SHA256Old)
}
