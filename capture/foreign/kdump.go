package foreign

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/xentape/xentape/format"
)

// The kdump-compressed format: IMPLEMENTATION in makedumpfile, include/sysemu/dump.h
// in QEMU. A header block, a sub-header, two bitmaps (frames that exist, frames
// that were dumped), and a descriptor for each dumped frame.
const (
	kdumpSignature   = "KDUMP   "
	kdumpDescSize    = 24
	kdumpZlib        = 1
	kdumpLZO         = 2
	kdumpSnappy      = 4
	kdumpZstd        = 0x20
	kdumpCompression = kdumpZlib | kdumpLZO | kdumpSnappy | kdumpZstd
)

type kdumpHeader struct {
	version        uint32
	subBlocks      uint32
	bitmapBlocks   uint32
	maxPFN         uint64
	info, infoSize uint64
	note, noteSize uint64
}

func openKdump(m *MemoryImage, r io.ReaderAt, size int64) error {
	m.Format = FormatKdump
	h, err := readKdumpHeader(r)
	if err != nil {
		return fmt.Errorf("kdump header: %w", err)
	}
	f := &elfFile{r: r, size: size}
	if h.infoSize > 0 && h.info < 1<<62 {
		m.attach("elf/note/VMCOREINFO", int64(h.info), int64(min(h.infoSize, 1<<62)))
	}
	if h.noteSize > 0 {
		names := noteNames{}
		notes, err := f.notes(h.note, h.noteSize)
		if err != nil {
			m.warn("kdump notes: %v", err)
		}
		for _, n := range notes {
			if name := names.next(n.name); m.attachments[name] == nil {
				m.attach(name, n.off, int64(n.length))
			}
		}
	}
	zd, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<20), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return fmt.Errorf("zstd decoder: %w", err)
	}
	m.pages.stride = kdumpDescSize
	m.pages.read = func(off int64, dst []byte) error { return readKdumpPage(r, size, zd, off, dst) }
	return m.kdumpBitmaps(f, h)
}

func readKdumpHeader(r io.ReaderAt) (kdumpHeader, error) {
	var h kdumpHeader
	b := make([]byte, 464)
	if err := readFullAt(r, b, 0); err != nil {
		return h, err
	}
	le := binary.LittleEndian
	h.version, h.subBlocks, h.bitmapBlocks = le.Uint32(b[8:]), le.Uint32(b[432:]), le.Uint32(b[436:])
	h.maxPFN = uint64(le.Uint32(b[440:]))
	if n := le.Uint32(b[428:]); n != format.PageSize {
		return h, fmt.Errorf("block_size %d, want %d", n, format.PageSize)
	}
	if h.subBlocks == 0 || h.subBlocks > 1<<20 {
		return h, fmt.Errorf("sub_hdr_size %d", h.subBlocks)
	}
	s := make([]byte, 104)
	if err := readFullAt(r, s, format.PageSize); err != nil {
		return h, fmt.Errorf("sub-header: %w", err)
	}
	if h.version >= 3 {
		h.info, h.infoSize = le.Uint64(s[32:]), le.Uint64(s[40:])
	}
	if h.version >= 4 {
		h.note, h.noteSize = le.Uint64(s[48:]), le.Uint64(s[56:])
	}
	if h.version >= 6 {
		h.maxPFN = le.Uint64(s[96:])
	}
	if le.Uint32(s[12:]) != 0 {
		return h, errors.New("one part of a split dump: reassemble it with makedumpfile --reassemble")
	}
	return h, nil
}

// kdumpBitmaps maps every frame of the second bitmap to its descriptor, and
// marks those only in the first as left out.
func (m *MemoryImage) kdumpBitmaps(f *elfFile, h kdumpHeader) error {
	half := uint64(h.bitmapBlocks) * format.PageSize / 2
	if h.maxPFN > half*8 {
		return fmt.Errorf("kdump max_mapnr %#x in bitmaps of %d bytes", h.maxPFN, half)
	}
	first := (1 + uint64(h.subBlocks)) * format.PageSize
	desc := first + 2*half
	exists, dumped := make([]byte, 1<<16), make([]byte, 1<<16)
	for at := uint64(0); at < (h.maxPFN+7)/8; at += uint64(len(exists)) {
		n := min(uint64(len(exists)), half-at)
		if err := errors.Join(f.at(exists[:n], first+at), f.at(dumped[:n], first+half+at)); err != nil {
			return fmt.Errorf("kdump bitmap: %w", err)
		}
		for i := uint64(0); i < n; i++ {
			if exists[i]|dumped[i] == 0 {
				continue
			}
			if err := m.kdumpByte((at+i)*8, exists[i], dumped[i], desc); err != nil {
				return err
			}
			desc += uint64(bits.OnesCount8(dumped[i])) * kdumpDescSize
		}
	}
	if desc > uint64(f.size) {
		m.warn("the file is truncated: page descriptors reach %#x of %#x", desc, f.size)
	}
	return nil
}

func (m *MemoryImage) kdumpByte(pfn uint64, exists, dumped byte, desc uint64) error {
	for k := uint64(0); k < 8; k++ {
		bit := byte(1) << k
		var err error
		switch {
		case dumped&bit != 0:
			err = m.pages.add(run{pfn + k, 1, int64(desc), format.PageData})
			desc += kdumpDescSize
		case exists&bit != 0:
			err = m.pages.add(run{pfn + k, 1, 0, format.PageUnreadable})
		}
		if err != nil {
			return fmt.Errorf("kdump bitmap: %w", err)
		}
	}
	return nil
}

// readKdumpPage reads the page whose descriptor is at off.
func readKdumpPage(r io.ReaderAt, size int64, zd *zstd.Decoder, off int64, dst []byte) error {
	var d [kdumpDescSize]byte
	if err := readFullAt(r, d[:], off); err != nil {
		return fmt.Errorf("page descriptor: %w", err)
	}
	le := binary.LittleEndian
	at, length, flags := le.Uint64(d[:]), le.Uint32(d[8:]), le.Uint32(d[12:])
	if length == 0 || length > 2*format.PageSize || at > uint64(size) {
		return fmt.Errorf("page descriptor at %#x: offset %#x, size %d", off, at, length)
	}
	if flags&kdumpCompression == 0 {
		if length != format.PageSize {
			return fmt.Errorf("page descriptor at %#x: uncompressed page of %d bytes", off, length)
		}
		return readFullAt(r, dst, int64(at))
	}
	b := make([]byte, length)
	if err := readFullAt(r, b, int64(at)); err != nil {
		return err
	}
	if err := expandPage(zd, flags&kdumpCompression, b, dst); err != nil {
		return fmt.Errorf("page at %#x: %w", at, err)
	}
	return nil
}

// expandPage decompresses b, which must give exactly one page.
func expandPage(zd *zstd.Decoder, method uint32, b, dst []byte) error {
	switch method {
	case kdumpZlib:
		z, err := zlib.NewReader(bytes.NewReader(b))
		if err != nil {
			return fmt.Errorf("zlib: %w", err)
		}
		if _, err := io.ReadFull(z, dst); err != nil {
			return fmt.Errorf("zlib: %w", err)
		}
		return nil
	case kdumpSnappy:
		if n, err := s2.DecodedLen(b); err != nil || n != format.PageSize {
			return fmt.Errorf("snappy: %d bytes, want %d: %w", n, format.PageSize, errors.Join(err, errPageSize))
		}
		if _, err := s2.Decode(dst, b); err != nil {
			return fmt.Errorf("snappy: %w", err)
		}
		return nil
	case kdumpZstd:
		out, err := zd.DecodeAll(b, dst[:0:format.PageSize])
		if err == nil && len(out) != format.PageSize {
			err = errPageSize
		}
		if err != nil {
			return fmt.Errorf("zstd: %w", err)
		}
		return nil
	case kdumpLZO:
		return errors.New("lzo-compressed pages are not read: convert the dump with makedumpfile -c or -E")
	}
	return fmt.Errorf("compression flags %#x", method)
}

var errPageSize = fmt.Errorf("not one page of %d bytes", format.PageSize)
