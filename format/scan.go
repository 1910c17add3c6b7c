package format

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// chunkInfo is a chunk whose header holds, and where it lies.
type chunkInfo struct {
	off   int64
	head  chunkHead
	rec   *recordsMeta // of records and repeat chunks
	pages *pagesMeta   // of pages and map chunks
}

func (c *chunkInfo) end() int64 { return c.off + c.head.length() }

// newChunkInfo decodes the meta of the types that have one of interest.
func newChunkInfo(off int64, h chunkHead) (*chunkInfo, error) {
	c := &chunkInfo{off: off, head: h}
	var err error
	switch h.Type {
	case chunkRecords, chunkRepeat:
		c.rec, err = parseRecordsMeta(h.Meta)
	case chunkPages, chunkMap:
		c.pages, err = parsePagesMeta(h.Meta)
	}
	return c, err
}

// bodyMeta is the part of the meta that says how the body is stored.
func (c *chunkInfo) bodyMeta() (bodyMeta, error) {
	switch {
	case c.rec != nil:
		return c.rec.bodyMeta, nil
	case c.pages != nil:
		return c.pages.bodyMeta, nil
	case c.head.Type == chunkIndex || c.head.Type == chunkLoss:
		d := &decoder{b: c.head.Meta}
		m := d.bodyMeta()
		return m, d.err
	}
	return bodyMeta{}, nil
}

// scanner finds chunks from front to back, and finds them again after damage.
type scanner struct {
	src    io.ReaderAt
	size   int64
	tape   *[16]byte // chunks of other tapes are not chunks of this one; nil until known
	budget int64     // bytes that may still be read in search of chunks
	damage []*Damage
}

func newScanner(src io.ReaderAt, size int64) *scanner {
	return &scanner{src: src, size: size, budget: 16*size + 64<<20}
}

// readHead reads and checks the chunk header at off.
func (s *scanner) readHead(off int64) (chunkHead, error) {
	if off < 0 || off >= s.size {
		return chunkHead{}, errShort // an index can say any number
	}
	buf := make([]byte, min(512, s.size-off))
	if _, err := s.src.ReadAt(buf, off); err != nil && !errors.Is(err, io.EOF) {
		return chunkHead{}, fmt.Errorf("read tape at byte %d: %w", off, err)
	}
	h, err := parseChunkHead(buf)
	if errors.Is(err, errShort) && len(buf) >= chunkHeaderSize {
		need := chunkHeaderSize + metaLengthHint(buf)
		if int64(need) > s.size-off {
			return h, errShort
		}
		buf = make([]byte, need)
		if _, err := s.src.ReadAt(buf, off); err != nil && !errors.Is(err, io.EOF) {
			return chunkHead{}, fmt.Errorf("read tape at byte %d: %w", off, err)
		}
		h, err = parseChunkHead(buf)
	}
	if err == nil && s.tape != nil && h.Tape != *s.tape {
		return h, errors.New("chunk of another tape")
	}
	return h, err
}

// scan calls found for every chunk from off on and returns where the next chunk
// would begin: the end, or the start of what is not whole.
func (s *scanner) scan(off int64, found func(off int64, h chunkHead) error) (int64, error) {
	for off < s.size {
		h, err := s.readHead(off)
		if err == nil {
			if h.length() > s.size-off {
				s.damage = append(s.damage, &Damage{
					Kind: DamageTruncated, Offset: off, Length: s.size - off, Chunk: h.Number, Type: h.Type.String(),
					Detail: fmt.Sprintf("%s chunk of %d bytes, %d are there", h.Type, h.length(), s.size-off),
				})
				return off, nil
			}
			if s.tape == nil {
				s.tape = &h.Tape
			}
			if err := found(off, h); err != nil {
				return off, err
			}
			off += h.length()
			continue
		}
		next, ok, rerr := s.resync(off + 1)
		if rerr != nil {
			return off, rerr
		}
		if !ok {
			s.damage = append(s.damage, &Damage{
				Kind: DamageTruncated, Offset: off, Length: s.size - off,
				Detail: fmt.Sprintf("no whole chunk from here to the end: %v", err),
			})
			return off, nil
		}
		s.damage = append(s.damage, &Damage{Kind: DamageHeader, Offset: off, Length: next - off, Detail: err.Error()})
		off = next
	}
	return off, nil
}

// resync finds the next chunk at or after off. It gives up, as if there were
// none, when a tape made to cost time has used up the budget.
func (s *scanner) resync(off int64) (int64, bool, error) {
	var mark [4]byte
	binary.LittleEndian.PutUint32(mark[:], chunkSync)
	buf := make([]byte, min(64<<10, max(s.size-off, 0)))
	for off+chunkHeaderSize <= s.size && s.budget > 0 {
		b := buf[:min(int64(len(buf)), s.size-off)]
		if _, err := s.src.ReadAt(b, off); err != nil && !errors.Is(err, io.EOF) {
			return 0, false, fmt.Errorf("read tape at byte %d: %w", off, err)
		}
		s.budget -= int64(len(b))
		for at := 0; ; {
			i := bytes.Index(b[at:], mark[:])
			if i < 0 || s.budget <= 0 {
				break
			}
			at += i
			h, err := s.readHead(off + int64(at))
			s.budget -= int64(chunkHeaderSize + len(h.Meta))
			if err == nil && h.length() <= s.size-off-int64(at) {
				return off + int64(at), true, nil
			}
			at++
		}
		off += int64(len(b)) - 3
		if len(b) < len(buf) {
			break
		}
	}
	return 0, false, nil
}
