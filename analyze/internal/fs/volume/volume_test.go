package volume

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// disk is bytes as a device, all known.
type disk struct{ *bytes.Reader }

func (d disk) Size() uint64 { return uint64(d.Reader.Size()) }

func (d disk) Known(off, n uint64) bool { return off+n <= d.Size() }

func (d disk) ReadAt(p []byte, off int64) (int, error) { return d.Reader.ReadAt(p, off) }

func newDisk(b []byte) fs.Device { return disk{bytes.NewReader(b)} }

const mib = 1 << 20

// putMBR writes an entry of a DOS partition table at sector s.
func putMBR(b []byte, s uint64, entry int, kind byte, start, count uint32) {
	e := b[s*512+446+uint64(16*entry):]
	e[4] = kind
	binary.LittleEndian.PutUint32(e[8:], start)
	binary.LittleEndian.PutUint32(e[12:], count)
	b[s*512+510], b[s*512+511] = 0x55, 0xaa
}

func names(l Layout) map[string]Volume {
	out := map[string]Volume{}
	for _, v := range l.Volumes {
		out[v.Name] = v
	}
	return out
}

func TestMBRWithLogicalPartitions(t *testing.T) {
	b := make([]byte, 16*mib)
	putMBR(b, 0, 0, 0x83, 2048, 4096)
	putMBR(b, 0, 1, 0x05, 8192, 16384)
	putMBR(b, 8192, 0, 0x83, 63, 2000)   // logical, from this record
	putMBR(b, 8192, 1, 0x05, 4096, 4096) // next record, from the extended partition
	putMBR(b, 8192+4096, 0, 0x82, 100, 3000)
	l := Scan(newDisk(b), "xvda")
	require.Empty(t, l.Problems)
	v := names(l)
	require.Len(t, v, 3)
	require.Equal(t, []fs.Segment{{Disk: mib, Len: 2 * mib}}, v["xvda1"].Segments)
	require.Equal(t, uint64((8192+63)*512), v["xvda5"].Segments[0].Disk)
	require.Equal(t, uint64((8192+4096+100)*512), v["xvda6"].Segments[0].Disk)
	require.Equal(t, uint64(3000*512), v["xvda6"].Size)
}

func TestEBRLoopEnds(t *testing.T) {
	b := make([]byte, 4*mib)
	putMBR(b, 0, 0, 0x05, 100, 4000)
	putMBR(b, 100, 0, 0x83, 10, 10)
	putMBR(b, 100, 1, 0x05, 0, 10)
	putMBR(b, 100, 1, 0x05, 200, 10)
	putMBR(b, 300, 1, 0x05, 200, 10)
	l := Scan(newDisk(b), "sda")
	require.Len(t, l.Problems, 1)
	require.Contains(t, l.Problems[0], "loop")
	require.Len(t, l.Volumes, 1)
}

func TestBootSectorsAreNotTables(t *testing.T) {
	b := make([]byte, mib)
	copy(b[3:], "NTFS    ")
	putMBR(b, 0, 0, 0x83, 2, 100)
	l := Scan(newDisk(b), "xvdb")
	require.Equal(t, "xvdb", l.Volumes[0].Name)
	require.Equal(t, Disk, l.Volumes[0].Kind)
}

// gptImage has one partition, 1 MiB to 3 MiB.
func gptImage(sector uint64) []byte {
	le := binary.LittleEndian
	b := make([]byte, 8*mib)
	entries := make([]byte, 128*128)
	copy(entries, []byte{0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4}) // Linux filesystem data
	copy(entries[16:], bytes.Repeat([]byte{0x11}, 16))
	le.PutUint64(entries[32:], mib/sector)
	le.PutUint64(entries[40:], 3*mib/sector-1)
	for i, r := range "root" {
		le.PutUint16(entries[56+2*i:], uint16(r))
	}
	copy(b[2*sector:], entries)
	last := uint64(len(b))/sector - 1
	copy(b[(last-33)*sector:], entries)
	for _, at := range []uint64{1, last} {
		h := b[at*sector:]
		copy(h, "EFI PART")
		le.PutUint32(h[8:], 0x10000)
		le.PutUint32(h[12:], 92)
		le.PutUint64(h[24:], at)
		le.PutUint64(h[72:], 2)
		if at == last {
			le.PutUint64(h[72:], last-33)
		}
		le.PutUint32(h[80:], 128)
		le.PutUint32(h[84:], 128)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
	}
	return b
}

func TestGPT(t *testing.T) {
	for _, sector := range []uint64{512, 4096} {
		b := gptImage(sector)
		l := Scan(newDisk(b), "nvme0n1")
		require.Empty(t, l.Problems)
		v := l.Volumes[0]
		require.Equal(t, "nvme0n1p1", v.Name)
		require.Equal(t, "root", v.Label)
		require.Equal(t, "0fc63daf-8483-4772-8e79-3d69d8477de4", v.Type)
		require.Equal(t, []fs.Segment{{Disk: mib, Len: 2 * mib}}, v.Segments)
		b[sector+72]++ // the primary's checksum breaks
		l = Scan(newDisk(b), "nvme0n1")
		require.Len(t, l.Volumes, 1)
		require.Equal(t, "nvme0n1p1", l.Volumes[0].Name)
		require.Contains(t, l.Problems[0], "backup")
	}
}

const vgText = `vg0 {
id = "AAAAAA-AAAA"
seqno = 3
format = "lvm2" # informational
status = ["RESIZEABLE", "READ", "WRITE"]
extent_size = 2048
physical_volumes {
pv0 { id = "%s"
device = "/dev/xvda"
status = ["ALLOCATABLE"]
pe_start = 2048
pe_count = 6 }
}
logical_volumes {
root { id = "BBBBBB"
status = ["READ", "WRITE", "VISIBLE"]
segment_count = 2
segment1 { start_extent = 0
extent_count = 1
type = "striped"
stripe_count = 1
stripes = [ "pv0", 3 ] }
segment2 { start_extent = 1
extent_count = 2
type = "striped"
stripe_count = 1
stripes = [ "pv0", 0 ] }
}
mixed { status = ["READ", "WRITE", "VISIBLE"]
segment_count = 1
segment1 { start_extent = 0
extent_count = 2
type = "striped"
stripe_count = 2
stripe_size = 1024
stripes = [ "pv0", 4, "pv0", 5 ] }
}
thin { status = ["READ", "WRITE", "VISIBLE"]
segment_count = 1
segment1 { start_extent = 0
extent_count = 2
type = "thin" }
}
hidden { status = ["READ", "WRITE"]
segment_count = 0 }
}
}
`

// pvImage is a disk that is one physical volume.
func pvImage(text string) []byte {
	le := binary.LittleEndian
	b := make([]byte, 8*mib)
	uuid := bytes.Repeat([]byte{'u'}, 32)
	l := b[512:]
	copy(l, "LABELONE")
	le.PutUint64(l[8:], 1)
	le.PutUint32(l[20:], 32)
	copy(l[24:], "LVM2 001")
	copy(l[32:], uuid)
	le.PutUint64(l[64:], uint64(len(b)))
	le.PutUint64(l[72:], mib) // data area
	le.PutUint64(l[104:], 4096)
	le.PutUint64(l[112:], mib-4096)
	h := b[4096:]
	copy(h[4:], " LVM2 x[5A%r0N*>")
	le.PutUint64(h[40:], 512)
	le.PutUint64(h[48:], uint64(len(text)))
	copy(h[512:], text)
	return b
}

func TestLVMLinearAndStriped(t *testing.T) {
	text := fmt.Sprintf(vgText, "uuuuuu-uuuu-uuuu-uuuu-uuuu-uuuu-uuuuuu")
	l := Scan(newDisk(pvImage(text)), "xvda")
	require.Empty(t, l.Problems)
	v := names(l)
	require.Equal(t, "lvm2-pv", v["xvda"].Holds)
	root := v["vg0/root"]
	require.Equal(t, uint64(3*mib), root.Size)
	require.Equal(t, []fs.Segment{{Off: 0, Disk: 4 * mib, Len: mib}, {Off: mib, Disk: mib, Len: 2 * mib}}, root.Segments)
	mixed := v["vg0/mixed"]
	require.Equal(t, []fs.Segment{
		{Off: 0, Disk: 5 * mib, Len: mib / 2}, {Off: mib / 2, Disk: 6 * mib, Len: mib / 2},
		{Off: mib, Disk: 5*mib + mib/2, Len: mib / 2}, {Off: mib + mib/2, Disk: 6*mib + mib/2, Len: mib / 2},
	}, mixed.Segments)
	require.Contains(t, v["vg0/thin"].Opaque, "thin")
	require.NotContains(t, v, "vg0/hidden")
}

func TestSectionOfALogicalVolume(t *testing.T) {
	text := fmt.Sprintf(vgText, "uuuuuu-uuuu-uuuu-uuuu-uuuu-uuuu-uuuuuu")
	b := pvImage(text)
	for i := mib; i < len(b); i++ {
		b[i] = byte(i / mib)
	}
	d := newDisk(b)
	v := names(Scan(d, "xvda"))["vg0/root"]
	s := v.Open(d)
	p := make([]byte, 4)
	_, err := s.ReadAt(p, mib-2)
	require.NoError(t, err)
	require.Equal(t, []byte{4, 4, 1, 1}, p)
	ws := s.Split(&fs.Write{Off: 3*mib - 512, Len: 2*mib + 1024, Data: make([]byte, 2*mib+1024)})
	require.Len(t, ws, 2)
	require.Equal(t, uint64(0), ws[0].Off)
	require.Equal(t, uint64(mib), ws[0].Len)
	require.Equal(t, uint64(3*mib-512), ws[1].Off)
	require.Len(t, ws[1].Data, 512)
}

func TestOpaqueContents(t *testing.T) {
	luks := make([]byte, mib)
	copy(luks, "LUKS\xba\xbe\x00\x02")
	copy(luks[168:], "the-uuid")
	l := Scan(newDisk(luks), "xvdc")
	require.Equal(t, "luks2", l.Volumes[0].Holds)
	require.Equal(t, "the-uuid", l.Volumes[0].UUID)
	require.NotEmpty(t, l.Volumes[0].Opaque)
	swap := make([]byte, mib)
	copy(swap[4086:], "SWAPSPACE2")
	require.Equal(t, "swap", Scan(newDisk(swap), "xvdd").Volumes[0].Holds)
}

// FuzzScan: whatever a disk says, every segment lies on it, none overlap within
// their volume, and the scan ends.
func FuzzScan(f *testing.F) {
	mbr := make([]byte, 64<<10)
	putMBR(mbr, 0, 0, 0x83, 2, 20)
	putMBR(mbr, 0, 1, 0x05, 40, 60)
	putMBR(mbr, 40, 0, 0x83, 1, 10)
	f.Add(mbr)
	f.Add(gptImage(512)[:40<<10])
	f.Add(pvImage(fmt.Sprintf(vgText, "uuuuuu-uuuu-uuuu-uuuu-uuuu-uuuu-uuuuuu"))[:16<<10])
	f.Fuzz(func(t *testing.T, b []byte) {
		d := newDisk(b)
		for _, v := range Scan(d, "d").Volumes {
			if len(v.Segments) == 0 {
				require.NotEmpty(t, v.Opaque)
				continue
			}
			s := v.Open(d)
			for _, g := range s.Segments() {
				require.LessOrEqual(t, g.Disk+g.Len, d.Size())
			}
			p := make([]byte, 512)
			if _, err := s.ReadAt(p, 0); err != nil && err != io.EOF {
				require.True(t, fs.IsUnknown(err), err)
			}
		}
	})
}

func TestConfigSyntax(t *testing.T) {
	for _, bad := range []string{"a {", "}", "a = [", "a b", "{", "a = \"x"} {
		_, err := parseConfig(bad)
		if bad == "a = \"x" {
			require.NoError(t, err)
			continue
		}
		require.Error(t, err, bad)
	}
}
