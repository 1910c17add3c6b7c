package foreign

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/xentape/xentape/format"
)

// GuestType is how the frames of an image relate to machine frames. The values
// are those of the stream attribute "guest-type".
type GuestType string

// The guest types an image can tell. dump-core and xl save do not distinguish
// HVM from PVH.
const (
	GuestBare GuestType = "bare" // not under Xen, or not known to be
	GuestPV   GuestType = "pv"   // page tables hold machine frames; translate by xen/p2m
	GuestHVM  GuestType = "hvm"  // HVM or PVH
)

// The formats OpenMemory recognises, as MemoryImage.Format gives them.
const (
	FormatXenCore   = "xen-core" // xl dump-core
	FormatXLSave    = "xl-save"  // xl save
	FormatELFVmcore = "elf"      // QEMU dump-guest-memory, kdump ELF
	FormatLiME      = "lime"     // LiME and AVML version 1
	FormatKdump     = "kdump"    // makedumpfile and QEMU's compressed dumps
	FormatRawMemory = "raw"      // offset = guest-physical address
)

// ErrUnknownFormat is wrapped by OpenMemory's error when the content is that of
// something else than a memory image.
var ErrUnknownFormat = errors.New("not a memory image")

// MemoryImage is a guest's memory as one file holds it. It is a format.Image
// whose pages are guest frames (pfn for PV, gfn else), and is safe for
// concurrent use if its reader is.
type MemoryImage struct {
	Name     string    // what the caller called it
	Format   string    // one of the Format constants
	Guest    GuestType // what the file says it is
	Xen      string    // release of the hypervisor, "4.17"; "" where the file has none
	Warnings []string  // what is damaged or was left out, one line each

	pages       pageMap
	attachments map[string]func() ([]byte, error)
}

// OpenMemory recognises the memory image in r by its content. Anything not
// recognised is taken as raw memory, unless it is plainly another kind of file.
// Errors wrap ErrUnknownFormat, or name the file and the field that is wrong.
func OpenMemory(r io.ReaderAt, size int64, name string) (*MemoryImage, error) {
	if size < 0 {
		return nil, fmt.Errorf("%s: size %d is negative", name, size)
	}
	head := make([]byte, min(size, 512))
	if n, err := r.ReadAt(head, 0); n < len(head) {
		return nil, fmt.Errorf("%s: read first %d bytes: %w", name, len(head), err)
	}
	m := &MemoryImage{Name: name, Guest: GuestBare, attachments: map[string]func() ([]byte, error){}}
	m.pages.r, m.pages.size, m.pages.stride = &ahead{r: r}, size, format.PageSize
	open, err := detectMemory(head)
	if err == nil {
		err = open(m, r, size)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	m.Warnings = append(m.Warnings, m.pages.finish()...)
	return m, nil
}

type memoryOpener func(m *MemoryImage, r io.ReaderAt, size int64) error

// detectMemory chooses the reader for a file that starts with head.
func detectMemory(head []byte) (memoryOpener, error) {
	switch {
	case hasPrefix(head, elfMagic):
		return openELF, nil
	case hasPrefix(head, xlSaveMagic):
		return openXLSave, nil
	case hasPrefix(head, limeMagic):
		return openLiME, nil
	case hasPrefix(head, kdumpSignature):
		return openKdump, nil
	case hasPrefix(head, flattenedSignature):
		return openFlattened, nil
	}
	if other := otherKind(head); other != "" {
		return nil, fmt.Errorf("%w: it is %s", ErrUnknownFormat, other)
	}
	return openRaw, nil
}

// otherKinds are files easily passed where a memory image is meant; taking them
// for raw memory would answer "no processes" instead of "wrong file".
var otherKinds = []struct{ magic, what string }{
	{"\xd4\xc3\xb2\xa1", "a pcap capture"}, {"\xa1\xb2\xc3\xd4", "a pcap capture"},
	{"\x4d\x3c\xb2\xa1", "a pcap capture"}, {"\xa1\xb2\x3c\x4d", "a pcap capture"},
	{"\x0a\x0d\x0d\x0a", "a pcapng capture"},
	{"rhswsfj\x00", "a dm-log-writes log"},
	{"\x1f\x8b", "gzip-compressed: decompress it first"},
	{"\x28\xb5\x2f\xfd", "zstd-compressed: decompress it first"},
	{"\xfd7zXZ", "xz-compressed: decompress it first"},
	{"BZh", "bzip2-compressed: decompress it first"},
	{"PK\x03\x04", "a zip archive"},
	{"AVML", "an AVML snapshot compressed with snappy: convert it with avml-convert"},
	{"DISKDUMP", "a diskdump of a kernel before 2.6.13"},
	{"QFI\xfb", "a qcow2 disk image"},
	{"KDMV", "a VMware disk image"},
	{"QEVM", "a QEMU migration stream"},
	{"PAGEDU", "a Windows crash dump"},
	{"hibr", "a Windows hibernation file"}, {"HIBR", "a Windows hibernation file"},
	{"\xd0\xbe\xd2\xbe", "a VMware snapshot"}, {"\xd1\xba\xd1\xba", "a VMware snapshot"},
}

func otherKind(head []byte) string {
	for _, k := range otherKinds {
		if hasPrefix(head, k.magic) {
			return k.what
		}
	}
	if len(head) < format.PageSize/8 {
		return "shorter than 512 bytes"
	}
	return ""
}

func hasPrefix(b []byte, magic string) bool {
	return len(b) >= len(magic) && string(b[:len(magic)]) == magic
}

// Extents lists the frames whose content the file holds, ascending and merged.
func (m *MemoryImage) Extents() []format.Extent { return m.pages.extents() }

// ReadPage fills dst with frame n. A frame the file should hold and does not
// (truncated, read error) is PageMissing with an error; one the tool that wrote
// the file left out is PageUnreadable.
func (m *MemoryImage) ReadPage(n uint64, dst []byte) (format.PageState, error) {
	st, err := m.pages.readPage(n, dst)
	if err != nil {
		return st, fmt.Errorf("%s: frame %#x: %w", m.Name, n, err)
	}
	return st, nil
}

// Pages is one past the highest frame the file mentions.
func (m *MemoryImage) Pages() uint64 { return m.pages.limit() }

// States lists every run of frames the file mentions with what it says of it,
// ascending and without overlap. Frames not listed are PageAbsent.
func (m *MemoryImage) States() []StateExtent { return m.pages.states() }

// StateExtent is a run of frames of one state.
type StateExtent struct {
	format.Extent
	State format.PageState
}

// Attachment returns a blob of the file by its registered name: "xen/vcpu/N",
// "xen/shared-info", "xen/p2m", "xen/hvm-context", "elf/note/QEMU/N", …
// An attachment that cannot be read is reported as not there.
func (m *MemoryImage) Attachment(name string) ([]byte, bool) {
	get, ok := m.attachments[name]
	if !ok {
		return nil, false
	}
	b, err := get()
	return b, err == nil
}

// ReadAttachment is Attachment with the reason for a failure.
func (m *MemoryImage) ReadAttachment(name string) ([]byte, error) {
	get, ok := m.attachments[name]
	if !ok {
		return nil, fmt.Errorf("%s: no attachment %q", m.Name, name)
	}
	return get()
}

// Attachments lists the names of the file's attachments, sorted.
func (m *MemoryImage) Attachments() []string {
	return slices.Sorted(maps.Keys(m.attachments))
}

// maxAttachment bounds one attachment, in bytes. The largest real one is the p2m
// of a PV guest, 8 bytes a frame: 2 GiB would be a 1 TiB guest.
const maxAttachment = 2 << 30

// attach makes a range of the file available under name.
func (m *MemoryImage) attach(name string, off, length int64) {
	if off < 0 || length < 0 || off > m.pages.size || length > m.pages.size-off {
		m.warn("attachment %s at %#x, %d bytes, lies outside the file", name, off, length)
		return
	}
	if length > maxAttachment {
		m.warn("attachment %s of %d bytes left out: larger than %d", name, length, maxAttachment)
		return
	}
	r := m.pages.r
	m.attachments[name] = func() ([]byte, error) {
		b := make([]byte, length)
		if n, err := r.ReadAt(b, off); n < len(b) {
			return nil, fmt.Errorf("attachment %s at %#x: %w", name, off, err)
		}
		return b, nil
	}
}

// maxWarnings keeps a hostile file from filling memory with complaints.
const maxWarnings = 64

func (m *MemoryImage) warn(f string, args ...any) {
	switch {
	case len(m.Warnings) < maxWarnings:
		m.Warnings = append(m.Warnings, fmt.Sprintf(f, args...))
	case len(m.Warnings) == maxWarnings:
		m.Warnings = append(m.Warnings, "further warnings left out")
	}
}
