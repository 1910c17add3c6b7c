package foreign

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

func openBytes(t testing.TB, b []byte) *MemoryImage {
	t.Helper()
	m, err := OpenMemory(bytes.NewReader(b), int64(len(b)), "test")
	require.NoError(t, err)
	return m
}

// requireImage compares an image with the pages it was built from.
func requireImage(t *testing.T, pages map[uint64][]byte, m *MemoryImage) {
	t.Helper()
	got := map[uint64]bool{}
	buf := make([]byte, format.PageSize)
	for _, e := range m.Extents() {
		for n := e.Start; n < e.Start+e.Count; n++ {
			st, err := m.ReadPage(n, buf)
			require.NoError(t, err)
			require.Equal(t, format.PageData, st, "frame %#x", n)
			require.True(t, bytes.Equal(pages[n], buf), "frame %#x differs", n)
			got[n] = true
		}
	}
	require.Len(t, got, len(pages))
	st, err := m.ReadPage(0x77777, buf)
	require.NoError(t, err)
	require.Equal(t, format.PageAbsent, st)
	require.Equal(t, make([]byte, format.PageSize), buf, "an absent page reads as zeros")
}

func TestEveryFormatReadsBackWhatWasWritten(t *testing.T) {
	pages := guestPages()
	for i, c := range []struct {
		format string
		guest  GuestType
		file   []byte
	}{
		{FormatELFVmcore, GuestBare, vmcoreOf(pages)},
		{FormatXenCore, GuestHVM, xenCoreOf(pages, false)},
		{FormatXenCore, GuestPV, xenCoreOf(pages, true)},
		{FormatXLSave, GuestHVM, xlSaveOf(pages, false)},
		{FormatXLSave, GuestPV, xlSaveOf(pages, true)},
		{FormatLiME, GuestBare, limeOf(pages)},
		{FormatKdump, GuestBare, kdumpOf(pages, 5)},
		{FormatKdump, GuestBare, flattenedOf(kdumpOf(pages, 5))},
	} {
		t.Run(fmt.Sprintf("%d/%s/%s", i, c.format, c.guest), func(t *testing.T) {
			m := openBytes(t, c.file)
			require.Equal(t, c.format, m.Format)
			require.Equal(t, c.guest, m.Guest)
			require.Empty(t, m.Warnings)
			require.Equal(t, uint64(0x100002), m.Pages())
			requireImage(t, pages, m)
		})
	}
}

func TestRawMemory(t *testing.T) {
	b := bytes.Repeat([]byte("0123456789abcdef"), 3*256)
	m := openBytes(t, b[:2*4096+10])
	require.Equal(t, FormatRawMemory, m.Format)
	require.Equal(t, []format.Extent{{Start: 0, Count: 3}}, m.Extents())
	require.Len(t, m.Warnings, 1)
	page := make([]byte, format.PageSize)
	_, err := m.ReadPage(2, page)
	require.NoError(t, err)
	require.Equal(t, append([]byte("0123456789"), make([]byte, 4086)...), page)
}

func TestAttachments(t *testing.T) {
	pages := guestPages()
	for _, c := range []struct {
		file []byte
		want map[string]string
	}{
		{vmcoreOf(pages), map[string]string{
			"elf/note/CORE/0": "status 0", "elf/note/CORE/1": "status 1", "elf/note/QEMU/0": "cpu 0",
			"elf/note/VMCOREINFO": "OSRELEASE=6.1\n",
		}},
		{xenCoreOf(pages, false), map[string]string{
			"xen/vcpu/0":      string(bytes.Repeat([]byte{1}, 5168)),
			"xen/vcpu/1":      string(bytes.Repeat([]byte{2}, 5168)),
			"xen/shared-info": string(bytes.Repeat([]byte{7}, 4096)),
		}},
		{xlSaveOf(pages, true), map[string]string{
			"xen/vcpu/0":      string(bytes.Repeat([]byte{9}, 5168)),
			"xen/shared-info": string(bytes.Repeat([]byte{7}, 4096)),
			"xl/config":       `{"c_info":{"name":"guest"}}`,
		}},
		{xlSaveOf(pages, false), map[string]string{"xen/hvm-context": "hvm context"}},
		{kdumpOf(pages, 5), map[string]string{"elf/note/VMCOREINFO": "OSRELEASE=6.1\n"}},
	} {
		m := openBytes(t, c.file)
		for name, want := range c.want {
			got, ok := m.Attachment(name)
			require.True(t, ok, "%s has no %s, only %v", m.Format, name, m.Attachments())
			require.Equal(t, want, string(got))
		}
		_, ok := m.Attachment("xen/vcpu/77")
		require.False(t, ok)
	}
}

func TestP2MTranslatesEveryPage(t *testing.T) {
	pages := guestPages()
	delete(pages, 0x100000) // a p2m that reaches 4 GiB for ten pages is refused
	delete(pages, 0x100001)
	core := openBytes(t, xenCoreOf(pages, true))
	p2m, ok := core.Attachment("xen/p2m")
	require.True(t, ok)
	require.Len(t, p2m, 201*8)
	for pfn := uint64(0); pfn < 201; pfn++ {
		want := ^uint64(0)
		if pages[pfn] != nil {
			want = mfnOf(pfn)
		}
		require.Equal(t, want, le.Uint64(p2m[pfn*8:]), "pfn %#x", pfn)
	}
	saved := openBytes(t, xlSaveOf(pages, true))
	p2m, ok = saved.Attachment("xen/p2m")
	require.True(t, ok, "page tables in xl save hold pfns: identity")
	require.Equal(t, uint64(200), le.Uint64(p2m[200*8:]))
}

// What the file names and does not hold must never read as zeros of the guest.
func TestWhatIsNotInTheFileIsNotZero(t *testing.T) {
	page := bytes.Repeat([]byte{0xaa}, format.PageSize)
	filtered := buildVmcore(nil, []segmentSpec{{addr: 0, data: page, memSize: 3 * format.PageSize}})
	requireState(t, openBytes(t, filtered), 1, format.PageUnreadable)
	requireState(t, openBytes(t, kdumpOf(guestPages(), 5)), 5, format.PageUnreadable)
	requireState(t, openBytes(t, xlSaveOf(guestPages(), false)), 0x50, format.PageBallooned)
	requireState(t, openBytes(t, xlSaveOf(guestPages(), false)), 0x51, format.PageUnreadable)
}

func requireState(t *testing.T, m *MemoryImage, n uint64, want format.PageState) {
	t.Helper()
	st, err := m.ReadPage(n, make([]byte, format.PageSize))
	require.NoError(t, err)
	require.Equal(t, want, st)
	for _, e := range m.Extents() {
		require.False(t, n >= e.Start && n < e.Start+e.Count, "frame %#x is listed as readable", n)
	}
}

func TestTruncatedImagesKeepWhatTheyHold(t *testing.T) {
	pages := guestPages()
	for name, file := range map[string][]byte{
		"vmcore": vmcoreOf(pages), "lime": limeOf(pages), "xl save": xlSaveOf(pages, false),
	} {
		cut := len(file) - 9000 // loses the last pages
		m, err := OpenMemory(bytes.NewReader(file[:cut]), int64(cut), name)
		require.NoError(t, err, name)
		require.NotEmpty(t, m.Warnings, name)
		buf := make([]byte, format.PageSize)
		st, err := m.ReadPage(9, buf)
		require.NoError(t, err, name)
		require.Equal(t, format.PageData, st, name)
		require.True(t, bytes.Equal(pages[9], buf), name)
		st, err = m.ReadPage(0x100001, buf)
		if err == nil { // a truncated LiME range header leaves no trace of the page
			require.Equal(t, format.PageAbsent, st, name)
		} else {
			require.ErrorIs(t, err, errTruncated, name)
			require.Equal(t, format.PageMissing, st, name)
		}
	}
}

func TestSegmentsThatAreNotPageAligned(t *testing.T) {
	// 639 KiB of low memory, as PCs have it, is 159 pages and three quarters.
	low := make([]byte, 639<<10)
	for i := range low {
		low[i] = byte(i >> 8)
	}
	high := bytes.Repeat([]byte{0x55}, 5000)
	m := openBytes(t, buildVmcore(nil, []segmentSpec{{addr: 0, data: low}, {addr: 0x200100, data: high}}))
	require.Equal(t, []format.Extent{{Start: 0, Count: 160}, {Start: 0x200, Count: 2}}, m.Extents())
	buf := make([]byte, format.PageSize)
	_, err := m.ReadPage(159, buf)
	require.NoError(t, err)
	require.Equal(t, append(bytes.Clone(low[159*4096:]), make([]byte, 1024)...), buf)
	_, err = m.ReadPage(0x200, buf)
	require.NoError(t, err)
	require.Equal(t, append(make([]byte, 0x100), high[:4096-0x100]...), buf)
}

func TestOverlappingSegmentsFirstWins(t *testing.T) {
	one, two := bytes.Repeat([]byte{1}, 2*4096), bytes.Repeat([]byte{2}, 4*4096)
	m := openBytes(t, buildVmcore(nil, []segmentSpec{{addr: 0x2000, data: one}, {addr: 0x1000, data: two}}))
	buf := make([]byte, format.PageSize)
	for n, want := range map[uint64]byte{1: 2, 2: 1, 3: 1, 4: 2} {
		_, err := m.ReadPage(n, buf)
		require.NoError(t, err)
		require.Equal(t, bytes.Repeat([]byte{want}, 4096), buf, "page %d", n)
	}
}

func TestOtherFilesAreRefused(t *testing.T) {
	for _, magic := range []string{"\x1f\x8b", "\x0a\x0d\x0d\x0a", "rhswsfj\x00", "\xd4\xc3\xb2\xa1"} {
		b := append([]byte(magic), make([]byte, 8192)...)
		_, err := OpenMemory(bytes.NewReader(b), int64(len(b)), "f")
		require.ErrorIs(t, err, ErrUnknownFormat)
	}
	object := buildVmcore(nil, nil)
	object[16] = 1
	_, err := OpenMemory(bytes.NewReader(object), int64(len(object)), "f.o")
	require.ErrorIs(t, err, ErrUnknownFormat)
	_, err = OpenMemory(bytes.NewReader(nil), 0, "empty")
	require.ErrorIs(t, err, ErrUnknownFormat)
}

func FuzzOpenMemory(f *testing.F) {
	all := guestPages() // seeds are small: the fuzzer minimizes each input it keeps
	pages := map[uint64][]byte{1: all[1], 2: all[2], 7: all[3], 8: all[9]}
	for _, b := range [][]byte{
		vmcoreOf(pages), xenCoreOf(pages, false), xenCoreOf(pages, true), xlSaveOf(pages, false),
		xlSaveOf(pages, true), limeOf(pages), kdumpOf(pages, 5), flattenedOf(kdumpOf(pages, 5)),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := OpenMemory(bytes.NewReader(b), int64(len(b)), "fuzz")
		if err != nil {
			require.Nil(t, m)
			return
		}
		checkImage(t, m)
	})
}

// checkImage holds for every image: extents ascend, do not touch, lie below
// Pages, and agree with ReadPage.
func checkImage(t *testing.T, m *MemoryImage) {
	buf := make([]byte, format.PageSize)
	at, reads := uint64(0), 0
	for i, e := range m.Extents() {
		require.True(t, e.Count > 0 && (i == 0 || e.Start > at), "extent %d: %+v after %#x", i, e, at)
		at = e.Start + e.Count
		require.LessOrEqual(t, at, m.Pages())
		for _, n := range []uint64{e.Start, e.Start + e.Count/2, at - 1} {
			if reads++; reads > 200 {
				break
			}
			st, err := m.ReadPage(n, buf)
			if err != nil {
				require.Equal(t, format.PageMissing, st)
			} else {
				require.Equal(t, format.PageData, st)
			}
		}
		if st, _ := m.ReadPage(at, buf); i+1 == len(m.Extents()) || m.Extents()[i+1].Start > at {
			require.NotEqual(t, format.PageData, st, "page %#x after an extent", at)
		}
		if reads > 200 {
			break
		}
	}
	var last uint64
	for i, s := range m.States() {
		require.True(t, i == 0 || s.Start >= last, fmt.Sprintf("state %d: %+v", i, s))
		last = s.Start + s.Count
	}
	for _, name := range m.Attachments() {
		if a, ok := m.Attachment(name); ok {
			require.LessOrEqual(t, len(a), maxAttachment)
		}
	}
}

// A source whose reads fail must not look like an absent page.
func TestReadErrorsAreReported(t *testing.T) {
	file := vmcoreOf(guestPages())
	r := &failingReader{ReaderAt: bytes.NewReader(file)}
	m, err := OpenMemory(r, int64(len(file)), "bad disk")
	require.NoError(t, err)
	r.fail = true
	st, err := m.ReadPage(1, make([]byte, format.PageSize))
	require.ErrorContains(t, err, "input/output error")
	require.Equal(t, format.PageMissing, st)
}

type failingReader struct {
	io.ReaderAt
	fail bool
}

func (f *failingReader) ReadAt(b []byte, off int64) (int, error) {
	if f.fail {
		return 0, fmt.Errorf("input/output error")
	}
	return f.ReaderAt.ReadAt(b, off)
}
