package format

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"
)

// A spool is a file beside a tape into which a snapshot goes as fast as it can be
// read (SPEC.md §9.1): hashing and compressing come when the guest runs again. Should
// the recorder die before that, Salvage puts what the spool holds onto the tape.

// SpoolMagic begins a spool.
const SpoolMagic = "\x89XTS\x02\r\x1a\n"

// SpoolSuffix follows the name of a tape in that of its spool.
const SpoolSuffix = ".spool"

const (
	spoolHead  = 8 + 16 + 4 + 4 // magic, tape, snapshot, CRC-32C of these
	frameHead  = 4 + 4 + 4      // type, length, CRC-32C of these and the payload
	framePages = 1024           // pages of a frame, at most
	pageHead   = 8 + 8 + 8      // number, checksum of the content
	maxFrame   = framePages * (pageHead + PageSize)

	stateSize  = 8 + 8 + 1 // first page, count, state
	stateBatch = 1024      // statements of a frame, at most
)

// Types of frame.
const (
	spoolPages  = 1 // numbers and checksums, then as many pages
	spoolStates = 2 // statements without content
	spoolEnd    = 3 // the SnapshotEnd record; all of the snapshot is in the spool
)

// SpoolFile is what a spool needs of a file; *os.File is one.
type SpoolFile interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
}

// Spool takes the statements of one snapshot, in the order they are made, until they
// are moved to the tape. Its methods may not be called concurrently.
type Spool struct {
	to     *SnapshotWriter
	f      SpoolFile
	size   int64
	room   int64
	states []byte // not in the file yet
	head   []byte
	data   []byte
}

// Spool begins the spool of this snapshot. It is nil when the tape has none, when
// another snapshot has it, and when the tape is sealed: the content of a sealed tape
// is nowhere in clear.
func (s *SnapshotWriter) Spool() (*Spool, error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if err := s.check(0, 0); err != nil {
		return nil, err
	}
	if s.w.opts.Spool == nil || s.w.sealer != nil || s.w.spooling {
		return nil, nil
	}
	p := &Spool{to: s, f: s.w.opts.Spool, room: s.w.opts.SpoolBytes}
	if err := p.begin(); err != nil {
		return nil, err
	}
	s.w.spooling = true
	return p, nil
}

func (p *Spool) begin() error {
	b := append([]byte(SpoolMagic), p.to.w.opts.TapeID[:]...)
	b = binary.LittleEndian.AppendUint32(b, p.to.begin.ID)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if err := p.f.Truncate(0); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if _, err := p.f.WriteAt(b, 0); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	p.size = spoolHead
	return nil
}

// Full reports whether the spool holds as much as it may. It still takes more.
func (p *Spool) Full() bool { return p.size >= p.room }

// Pages states the contents of pages, PageSize bytes of data for each. After an error
// some of them may be stated.
func (p *Spool) Pages(pages []uint64, data []byte) error {
	if len(data) != len(pages)*PageSize {
		return fmt.Errorf("spool: %d pages of %d bytes together", len(pages), len(data))
	}
	if err := p.flush(); err != nil {
		return err
	}
	for len(pages) > 0 {
		n := min(len(pages), framePages)
		p.head = appendPageHeads(p.head[:0], pages[:n], data, p.to.w.opts.Workers)
		if err := p.frame(spoolPages, p.head, data[:n*PageSize]); err != nil {
			return err
		}
		pages, data = pages[n:], data[n*PageSize:]
	}
	return nil
}

// appendPageHeads appends number and checksum of each page. The guest may be waiting:
// all CPUs take part.
func appendPageHeads(b []byte, pages []uint64, data []byte, workers int) []byte {
	b = slices.Grow(b, len(pages)*pageHead)[:len(pages)*pageHead]
	var wg sync.WaitGroup
	size := (len(pages) + workers - 1) / workers
	for from := 0; from < len(pages); from += size {
		wg.Go(func() {
			for i := from; i < min(from+size, len(pages)); i++ {
				h := b[i*pageHead:]
				binary.LittleEndian.PutUint64(h, pages[i])
				putSum(h[8:], data[i*PageSize:(i+1)*PageSize])
			}
		})
	}
	wg.Wait()
	return b
}

// State states pages that have no content, as SnapshotWriter.State does.
func (p *Spool) State(e Extent, st PageState) error {
	if e.Count == 0 {
		return nil
	}
	if err := checkState(p.to.begin.ID, st); err != nil {
		return err
	}
	p.states = binary.LittleEndian.AppendUint64(p.states, e.Start)
	p.states = binary.LittleEndian.AppendUint64(p.states, e.Count)
	p.states = append(p.states, byte(st))
	if len(p.states) >= stateBatch*stateSize {
		return p.flush()
	}
	return nil
}

// flush puts statements without content into the file.
func (p *Spool) flush() error {
	if len(p.states) == 0 {
		return nil
	}
	err := p.frame(spoolStates, p.states, nil)
	if err == nil {
		p.states = p.states[:0]
	}
	return err
}

// End says that the snapshot is whole: from here on no death of the recorder can
// undo it. What the tape has been given until now, such as the snapshot's
// attachments, is in the tape's file first.
func (p *Spool) End(e SnapshotEnd) error {
	if err := p.flush(); err != nil {
		return err
	}
	if err := p.to.w.Flush(); err != nil {
		return err
	}
	e.ID, e.Stream = p.to.begin.ID, p.to.begin.Stream
	b, err := AppendRecord(nil, &e)
	if err != nil {
		return err
	}
	return p.frame(spoolEnd, b, nil)
}

// frame appends a frame whose payload is in two parts; of the second its pages have
// checksums. One that fails is overwritten by the next.
func (p *Spool) frame(kind uint32, a, b []byte) error {
	h := binary.LittleEndian.AppendUint32(nil, kind)
	h = binary.LittleEndian.AppendUint32(h, uint32(len(a)+len(b)))
	h = binary.LittleEndian.AppendUint32(h, frameSum(h, a))
	h = append(h, a...)
	if _, err := p.f.WriteAt(h, p.size); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if len(b) > 0 {
		if _, err := p.f.WriteAt(b, p.size+int64(len(h))); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
	}
	p.size += int64(len(h) + len(b))
	return nil
}

// frameSum is of type, length and the payload without the contents of pages.
func frameSum(head, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(head[:8], castagnoli), castagnoli, payload)
}

// Drain moves what the spool holds to the tape. The file keeps it until it is
// released.
func (p *Spool) Drain() error {
	r := &spoolReader{f: p.f, off: spoolHead, end: p.size, buf: p.data, own: true}
	for {
		f, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		if err := p.move(f); err != nil {
			return err
		}
	}
	p.data = r.buf
	f, err := parseFrame(spoolStates, p.states) // not in the file: it may be what has no room
	if err != nil {
		return err
	}
	return p.move(f)
}

// move puts a frame onto the tape.
func (p *Spool) move(f *spoolFrame) error {
	err := p.to.Pages(f.pages, f.data)
	for _, s := range f.states {
		if err == nil {
			err = p.to.State(Extent{s.start, s.count}, s.state)
		}
	}
	return err
}

// Empty moves what the spool holds to the tape and makes room for more.
func (p *Spool) Empty() error {
	if err := p.Drain(); err != nil {
		return err
	}
	p.states = p.states[:0]
	if err := p.to.w.Flush(); err != nil {
		return err
	}
	return p.begin()
}

// Release gives the spool up once what it held is in the tape's file.
func (p *Spool) Release() error {
	err := p.to.w.Flush()
	if err == nil {
		if err = p.f.Truncate(0); err != nil {
			err = fmt.Errorf("spool: %w", err)
		}
	}
	p.to.w.mu.Lock()
	defer p.to.w.mu.Unlock()
	p.to.w.spooling = false
	return err
}
