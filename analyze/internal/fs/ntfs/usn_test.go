package ntfs

import (
	"encoding/binary"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// usnBytes lays a record out after MS-FSCC 2.3.62.
func usnBytes(major uint16, file, parent, usn uint64, reason uint32, name string, ranges ...fs.Range) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0)
	b = binary.LittleEndian.AppendUint16(b, major)
	b = binary.LittleEndian.AppendUint16(b, 0)
	for _, ref := range []uint64{file, parent} {
		b = binary.LittleEndian.AppendUint64(b, ref)
		if major > 2 {
			b = binary.LittleEndian.AppendUint64(b, 0)
		}
	}
	b = binary.LittleEndian.AppendUint64(b, usn)
	if major < 4 {
		b = binary.LittleEndian.AppendUint64(b, unixEpoch+15)
	}
	b = binary.LittleEndian.AppendUint32(b, reason)
	b = binary.LittleEndian.AppendUint32(b, 0) // source
	b = binary.LittleEndian.AppendUint32(b, 0) // security id, or extents that remain
	if major == 4 {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(ranges)))
		b = binary.LittleEndian.AppendUint16(b, 16)
		for _, r := range ranges {
			b = binary.LittleEndian.AppendUint64(b, r.Off)
			b = binary.LittleEndian.AppendUint64(b, r.Len)
		}
	} else {
		u := utf16.Encode([]rune(name))
		b = binary.LittleEndian.AppendUint32(b, 0x20)
		b = binary.LittleEndian.AppendUint16(b, uint16(2*len(u)))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(b)+2))
		for _, c := range u {
			b = binary.LittleEndian.AppendUint16(b, c)
		}
	}
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	return b
}

func TestUSNVersions(t *testing.T) {
	for _, major := range []uint16{2, 3} {
		r, err := parseUSN(usnBytes(major, 5<<48|40, 5<<48|5, 4096, usnCreate|usnClose, "ä.txt"))
		require.NoError(t, err)
		require.Equal(t, usnRecord{length: r.length, file: 5<<48 | 40, parent: 5<<48 | 5, usn: 4096, time: 1500, reason: usnCreate | usnClose, attributes: 0x20, name: "ä.txt"}, r)
	}
	r, err := parseUSN(usnBytes(4, 40, 5, 80, usnOverwrite|usnClose, "", fs.Range{Off: 4096, Len: 12}))
	require.NoError(t, err)
	require.Equal(t, []fs.Range{{Off: 4096, Len: 12}}, r.ranges)
	require.Equal(t, fs.NoTime, r.time)
	require.Equal(t, "DATA_OVERWRITE|0x8|CLOSE", reasonNames(0x80000009))
	for _, cut := range []int{0, 7, 8, 59, 70} {
		_, err := parseUSN(usnBytes(2, 40, 5, 80, usnClose, "a long enough name")[:cut])
		require.ErrorIs(t, err, fs.ErrCorrupt)
	}
}

// TestReasonsAddUp: a record repeats what was said since the file was opened; each
// change is told once, a second rename of an open file again.
func TestReasonsAddUp(t *testing.T) {
	j := journal{open: map[reference]*opened{}}
	var got []fs.ToldOp
	for _, r := range []struct {
		reason uint32
		name   string
	}{
		{usnCreate, "a"}, {usnCreate | usnExtend, "a"}, {usnCreate | usnExtend | usnOverwrite, "a"},
		{usnCreate | usnExtend | usnRenameOld, "a"}, {usnCreate | usnExtend | usnRenameNew, "b"},
		{usnCreate | usnExtend | usnRenameOld, "b"}, {usnCreate | usnExtend | usnRenameNew, "c"},
		{usnCreate | usnExtend | usnRenameNew | usnClose, "c"},
		{usnExtend, "c"}, {usnExtend | usnClose, "c"}, {usnDelete | usnClose, "c"},
	} {
		for _, x := range j.told(usnRecord{file: 40, parent: 5, reason: r.reason, name: r.name, time: 1}, fs.Stamp{}) {
			got = append(got, x.Op)
		}
	}
	require.Equal(t, []fs.ToldOp{fs.ToldCreate, fs.ToldWrite, fs.ToldRename, fs.ToldRename, fs.ToldWrite, fs.ToldDelete}, got)
	require.Empty(t, j.open)
}

// FuzzUSN: a record that is accepted lies within the bytes given, and reading a page
// of anything as the journal ends, at a place between where it began and the end.
func FuzzUSN(f *testing.F) {
	for _, major := range []uint16{2, 3, 4} {
		page := usnBytes(major, 40, 5, 0, usnCreate, "name", fs.Range{Off: 1, Len: 2})
		f.Add(append(page, usnBytes(2, 40, 5, uint64(len(page)), usnCreate|usnClose, "name")...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		page := make([]byte, usnPage)
		copy(page, b)
		j := journal{open: map[reference]*opened{}}
		var told int
		end := j.page(page, 0, func(r usnRecord, at fs.Stamp) {
			require.LessOrEqual(t, 2*len(r.name), 3*r.length)
			require.LessOrEqual(t, 16*len(r.ranges), r.length)
			require.Less(t, r.usn, uint64(usnPage))
			told += len(j.told(r, at))
		})
		require.LessOrEqual(t, end, uint64(usnPage))
		require.LessOrEqual(t, told, 7*usnPage/60)
	})
}
