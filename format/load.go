package format

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// load finds the chunks, by the index where the tape is complete and by
// scanning it where it is not.
func (r *Reader) load() error {
	r.reset()
	var magic [len(Magic)]byte
	if r.size >= int64(len(magic)) {
		if _, err := r.src.ReadAt(magic[:], 0); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read tape: %w", err)
		}
	}
	start := int64(len(Magic))
	if string(magic[:]) != Magic {
		r.damage = append(r.damage, &Damage{Kind: DamageMagic, Length: min(start, r.size), Detail: "the file does not begin as a tape does"})
	}
	err := errNoFooter
	if !r.scanOnly {
		err = r.loadByIndex()
	}
	indexed := err == nil
	if !indexed {
		r.reset()
		if string(magic[:]) != Magic {
			r.damage = append(r.damage, &Damage{Kind: DamageMagic, Length: min(start, r.size), Detail: "the file does not begin as a tape does"})
			start = r.firstChunk()
		}
		if err := r.loadByScan(start); err != nil {
			return err
		}
	}
	r.headless = r.headless || r.header.Signer == nil && !slices.ContainsFunc(r.chunks, func(c *chunkInfo) bool { return c.head.Type == chunkHeader })
	return r.arrange(indexed)
}

// firstChunk is where the first chunk of a file with a damaged magic is looked for:
// where it should be, or from the first byte on.
func (r *Reader) firstChunk() int64 {
	at := int64(len(Magic))
	if r.size <= at {
		return 0
	}
	if _, err := newScanner(r.src, r.size).readHead(at); err != nil {
		return 0
	}
	return at
}

func (r *Reader) reset() {
	r.chunks, r.damage, r.losses, r.footer, r.sealed, r.rooted, r.headless = nil, nil, nil, nil, false, false, false
	r.byNum = map[uint64]*chunkInfo{}
	r.listed = map[uint64]indexEntry{}
	r.leaves = map[uint64][32]byte{}
	r.keys = map[uint32][]wrappedKey{}
	r.epochs = map[uint32]epochResult{}
	r.noted = map[uint64]bool{}
	r.images = map[uint32]*Snapshot{}
}

// add enters a chunk into the table.
func (r *Reader) add(off int64, h chunkHead) error {
	if !h.Type.known() {
		if h.Type&chunkCritical != 0 {
			return fmt.Errorf("chunk %d of %s: %w", h.Number, h.Type, ErrUnsupported)
		}
	}
	if o := r.byNum[h.Number]; o != nil {
		if o.off != off {
			r.damage = append(r.damage, &Damage{
				Kind: DamageDuplicate, Offset: off, Length: h.length(), Chunk: h.Number, Type: h.Type.String(),
				Detail: fmt.Sprintf("chunk %d was already at byte %d", h.Number, o.off),
			})
		}
		return nil
	}
	c, err := newChunkInfo(off, h)
	if err != nil {
		r.damage = append(r.damage, &Damage{Kind: DamageContent, Offset: off, Length: h.length(), Chunk: h.Number, Chunks: 1, Type: h.Type.String(), Detail: err.Error()})
		r.noted[h.Number] = true
		return nil
	}
	r.byNum[h.Number] = c
	r.chunks = append(r.chunks, c)
	return nil
}

var errNoFooter = errors.New("no footer")

// loadByIndex follows the footer to the indexes.
func (r *Reader) loadByIndex() error {
	off := r.size - footerSize
	if off < int64(len(Magic)) {
		return errNoFooter
	}
	s := newScanner(r.src, r.size)
	h, err := s.readHead(off)
	if err != nil || h.Type != chunkFooter || h.length() != footerSize {
		return errNoFooter
	}
	f, err := parseFooter(h.Meta)
	if err != nil {
		return err
	}
	s.tape = &h.Tape
	last := f.Index
	var all []*index
	for at, limit := f.Index, off; at != 0; {
		if at >= limit {
			return fmt.Errorf("index at byte %d: not before byte %d", at, limit)
		}
		x, err := r.readIndex(s, at)
		if err != nil {
			return err
		}
		all = append(all, x)
		at, limit = x.Previous, at
	}
	for _, x := range slices.Backward(all) {
		r.header = x.Header
		for _, k := range x.Keys {
			r.keys[k.Epoch] = append(r.keys[k.Epoch], k)
		}
		for _, e := range x.Entries {
			if e.Offset > off-e.Head.length() {
				return fmt.Errorf("chunk %d: listed at byte %d, which is not before the footer", e.Head.Number, e.Offset)
			}
			r.leaves[e.Head.Number] = e.Leaf
			if err := r.add(e.Offset, e.Head); err != nil {
				return err
			}
		}
	}
	if r.header.TapeID != h.Tape {
		return errors.New("index of another tape")
	}
	r.tape = h.Tape
	r.scanned, err = s.scan(last, r.add)
	if err != nil {
		return err
	}
	r.damage = append(r.damage, s.damage...)
	if len(s.damage) > 0 || len(r.damage) > 0 {
		return errors.New("the index does not agree with the file")
	}
	r.footer, r.sealed = &f, true
	return nil
}

// readIndex reads the index chunk at off.
func (r *Reader) readIndex(s *scanner, off int64) (*index, error) {
	h, err := s.readHead(off)
	if err != nil {
		return nil, fmt.Errorf("index at byte %d: %w", off, err)
	}
	if h.Type != chunkIndex || h.length() > s.size-off {
		return nil, fmt.Errorf("index at byte %d: a %s chunk is there", off, h.Type)
	}
	b, err := r.readBody(&chunkInfo{off: off, head: h})
	if err != nil {
		return nil, err
	}
	return parseIndex(b, h.Tape)
}

// loadByScan reads every chunk header of the file.
func (r *Reader) loadByScan(start int64) error {
	s := newScanner(r.src, r.size)
	var err error
	r.scanned, err = s.scan(start, r.add)
	if err != nil {
		return err
	}
	if len(r.chunks) == 0 {
		return fmt.Errorf("%w: no chunk in %d bytes", ErrNotTape, r.size)
	}
	r.tape = *s.tape
	r.damage = append(r.damage, s.damage...)
	return r.learn(r.chunks)
}

// learn reads what scanned chunks say about the tape as a whole: header, keys,
// indexes, footer.
func (r *Reader) learn(chunks []*chunkInfo) error {
	for _, c := range chunks {
		switch c.head.Type {
		case chunkHeader:
			b, err := r.body(c)
			if err != nil {
				continue // noted; the header comes twice
			}
			h, err := parseFileHeader(b)
			if errors.Is(err, ErrUnsupported) {
				return err
			}
			if err == nil {
				r.header = h
			}
		case chunkKey:
			if b, err := r.body(c); err == nil {
				d := &decoder{b: b}
				if k := d.wrappedKey(); d.err == nil {
					r.keys[k.Epoch] = append(r.keys[k.Epoch], k)
				}
			}
		case chunkIndex:
			if err := r.learnIndex(c); err != nil {
				return err
			}
		case chunkFooter:
			if f, err := parseFooter(c.head.Meta); err == nil && c.end() == r.size {
				r.footer, r.sealed = &f, true
			}
		}
	}
	if r.header.Major == 0 {
		r.header, r.headless = FileHeader{Major: Major, TapeID: r.tape}, true
	}
	return nil
}

func (r *Reader) learnIndex(c *chunkInfo) error {
	b, err := r.body(c)
	if err != nil {
		return nil // noted
	}
	x, err := parseIndex(b, r.tape)
	if err != nil {
		if errors.Is(err, ErrUnsupported) {
			return err
		}
		r.note(c, DamageContent, err)
		return nil
	}
	if r.header.Major == 0 {
		r.header = x.Header
	}
	for _, k := range x.Keys {
		r.keys[k.Epoch] = append(r.keys[k.Epoch], k)
	}
	for _, e := range x.Entries {
		r.leaves[e.Head.Number] = e.Leaf
		if r.byNum[e.Head.Number] == nil {
			r.listed[e.Head.Number] = e
		}
	}
	return nil
}
