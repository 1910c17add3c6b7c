package format

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// spoolReader reads the frames of a spool.
type spoolReader struct {
	f        io.ReaderAt
	off, end int64
	own      bool   // this process wrote it: contents need no check
	buf      []byte // of the frame read last
}

// spoolFrame is one frame. What it holds is valid until the next is read.
type spoolFrame struct {
	pages  []uint64
	data   []byte // PageSize bytes for each of pages
	states []pageRun
	ended  *SnapshotEnd
}

var (
	errNoSpool = errors.New("not a spool")
	errSum     = errors.New("checksum does not match")
)

// openSpool reads the beginning of a spool: whose it is.
func openSpool(f io.ReaderAt, size int64) (r *spoolReader, tape [16]byte, snapshot uint32, err error) {
	var b [spoolHead]byte
	if size < spoolHead {
		return nil, tape, 0, fmt.Errorf("%w: %d bytes", errNoSpool, size)
	}
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return nil, tape, 0, err
	}
	if string(b[:8]) != SpoolMagic {
		return nil, tape, 0, fmt.Errorf("%w: begins with %x", errNoSpool, b[:8])
	}
	if binary.LittleEndian.Uint32(b[28:]) != crc32.Checksum(b[:28], castagnoli) {
		return nil, tape, 0, errors.New("the spool's head is damaged")
	}
	return &spoolReader{f: f, off: spoolHead, end: size}, [16]byte(b[8:24]), binary.LittleEndian.Uint32(b[24:]), nil
}

// next reads the next frame: io.EOF after the last. Any other error is where the spool
// is torn or damaged, and nothing after it can be read.
func (r *spoolReader) next() (*spoolFrame, error) {
	if r.off == r.end {
		return nil, io.EOF
	}
	var h [frameHead]byte
	if r.end-r.off < frameHead {
		return nil, r.bad(errShort)
	}
	if _, err := r.f.ReadAt(h[:], r.off); err != nil {
		return nil, err
	}
	kind, n := binary.LittleEndian.Uint32(h[:]), int64(binary.LittleEndian.Uint32(h[4:]))
	if n > maxFrame || n > r.end-r.off-frameHead {
		return nil, r.bad(fmt.Errorf("length %d: %w", n, errShort))
	}
	r.buf = slices.Grow(r.buf[:0], int(n))[:n]
	if _, err := r.f.ReadAt(r.buf, r.off+frameHead); err != nil && (n > 0 || !errors.Is(err, io.EOF)) {
		return nil, err
	}
	payload := r.buf
	if kind == spoolPages {
		payload = r.buf[:n/(pageHead+PageSize)*pageHead]
	}
	if frameSum(h[:], payload) != binary.LittleEndian.Uint32(h[8:]) {
		return nil, r.bad(errSum)
	}
	f, err := parseFrame(kind, r.buf)
	if err != nil {
		return nil, r.bad(err)
	}
	if !r.own {
		for i, n := range f.pages {
			if !sumIs(r.buf[i*pageHead+8:], f.data[i*PageSize:(i+1)*PageSize]) {
				return nil, r.bad(fmt.Errorf("page %d: %w", n, errSum))
			}
		}
	}
	r.off += frameHead + n
	return f, nil
}

func (r *spoolReader) bad(err error) error {
	return fmt.Errorf("frame at byte %d: %w", r.off, err)
}

func parseFrame(kind uint32, b []byte) (*spoolFrame, error) {
	f := &spoolFrame{}
	switch kind {
	case spoolPages:
		n := len(b) / (pageHead + PageSize)
		if n*(pageHead+PageSize) != len(b) {
			return nil, fmt.Errorf("%d bytes of pages: not whole pages", len(b))
		}
		for i := range n {
			f.pages = append(f.pages, binary.LittleEndian.Uint64(b[i*pageHead:]))
		}
		f.data = b[n*pageHead:]
	case spoolStates:
		if len(b)%stateSize != 0 {
			return nil, fmt.Errorf("%d bytes of statements: not whole ones", len(b))
		}
		for ; len(b) > 0; b = b[stateSize:] {
			s := pageRun{start: binary.LittleEndian.Uint64(b), count: binary.LittleEndian.Uint64(b[8:]), state: PageState(b[16])}
			if err := checkState(0, s.state); err != nil {
				return nil, err
			}
			f.states = append(f.states, s)
		}
	case spoolEnd:
		rec, err := ParseRecord(b)
		if err != nil {
			return nil, err
		}
		end, ok := rec.(*SnapshotEnd)
		if !ok {
			return nil, fmt.Errorf("a record of type %d, not a snapshot's end", TypeOf(rec))
		}
		f.ended = end
	default:
		return nil, fmt.Errorf("type %d: unknown", kind)
	}
	return f, nil
}
