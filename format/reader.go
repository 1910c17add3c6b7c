package format

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"sync"

	"filippo.io/age"
)

// ReaderOptions say how a tape is read. The zero value of a field means its
// default.
type ReaderOptions struct {
	Identities []age.Identity // open the content of sealed tapes
	// MaxMemory bounds the bytes kept of opened chunks, besides the table of chunks;
	// 256 MiB. It may be as little as one chunk: that costs time, nothing else.
	MaxMemory int64
	// OnPage, if not nil, is told of each page that is read of a snapshot: what an
	// analysis needs. It is called on the goroutine that reads.
	OnPage func(snapshot uint32, page uint64)
}

// readerMemory is what a writer's differences are to, and three times as much: what a
// guest of half a gigabyte has in its memory, with what changed of it.
const readerMemory = 4 * deltaMemory

// A Reader reads a tape: complete, unfinished or damaged. What is wrong with it
// is told by Damage, and by Records and Snapshot at the place where it is
// missing. It is safe for concurrent use, but for Refresh.
type Reader struct {
	src  io.ReaderAt
	size int64
	opts ReaderOptions
	// scanOnly: the index is not believed, every chunk is looked at.
	scanOnly bool

	header FileHeader
	// headless: all copies of the header are lost, or were when the tape was salvaged,
	// and with them who signed first and whether chunks may be sealed.
	headless bool
	tape     [16]byte
	sealed   bool
	scanned  int64 // where the next chunk is expected
	chunks   []*chunkInfo
	byNum    map[uint64]*chunkInfo
	lanes    []readLane
	packs    map[uint32]*chunkInfo
	parts    map[uint32]*snapshotChunks
	listed   map[uint64]indexEntry // chunks that indexes list and the file does not have
	leaves   map[uint64][32]byte   // hashes of chunks, as indexes list them
	rooted   bool                  // leaves lead to the footer's root
	keys     map[uint32][]wrappedKey
	footer   *footer
	losses   []*loss // what salvage recorded as lost

	streams map[StreamID]StreamDef
	snaps   map[uint32]*SnapshotInfo
	gaps    map[uint64]Gap
	anchors map[uint64]Anchor

	mu     sync.Mutex
	epochs map[uint32]epochResult
	damage []*Damage
	noted  map[uint64]bool // chunks whose damage is in damage
	cache  *bodyCache
	images map[uint32]*Snapshot
}

// readLane is records chunks whose records do not interleave, in their order.
type readLane struct {
	kind   StreamKind
	chunks []*chunkInfo
}

type epochResult struct {
	key *epochKey
	err error
}

// snapshotChunks are the chunks of one snapshot, by part.
type snapshotChunks struct {
	pages map[uint32]*chunkInfo
	maps  map[uint32]*chunkInfo
}

// Open opens a tape of size bytes. It fails only when there is no tape to read:
// nothing of it is found, or it needs features this version does not know.
func Open(src io.ReaderAt, size int64, o ReaderOptions) (*Reader, error) {
	if o.MaxMemory <= 0 {
		o.MaxMemory = readerMemory
	}
	r := &Reader{src: src, size: size, opts: o}
	r.cache = newBodyCache(o.MaxMemory)
	if err := r.load(); err != nil {
		return nil, err
	}
	return r, nil
}

// note enters a damaged chunk into the list of damage, once.
func (r *Reader) note(c *chunkInfo, kind DamageKind, err error) *Damage {
	d := &Damage{
		Kind: kind, Offset: c.off, Length: c.head.length(), Chunk: c.head.Number, Chunks: 1,
		Type: c.head.Type.String(), Detail: err.Error(),
	}
	d.records(c)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.noted[c.head.Number] {
		r.noted[c.head.Number] = true
		r.damage = append(r.damage, d)
	}
	return d
}

// records says which records are lost with a chunk.
func (d *Damage) records(c *chunkInfo) {
	if c.rec == nil || c.head.Type != chunkRecords {
		return
	}
	d.FirstSeq, d.LastSeq, d.Lost = c.rec.FirstSeq, c.rec.LastSeq, c.rec.Count
	for _, s := range c.rec.Streams {
		d.Streams = append(d.Streams, s.ID)
	}
}

// readBody reads a chunk's body: checks it, opens it, unpacks it.
func (r *Reader) readBody(c *chunkInfo) ([]byte, error) {
	head := int64(chunkHeaderSize + len(c.head.Meta))
	buf := make([]byte, c.head.length()-head)
	if _, err := r.src.ReadAt(buf, c.off+head); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read tape at byte %d: %w", c.off+head, err)
	}
	if err := r.checkBody(c, buf); err != nil {
		return nil, err
	}
	if r.rooted && chunkLeaf(c.head.append(nil), buf) != r.leaves[c.head.Number] {
		return nil, r.note(c, DamageTree, errors.New("body is not the one that the Merkle log has"))
	}
	return r.openBody(c, buf, nil)
}

// checkBody checks what follows a chunk's meta.
func (r *Reader) checkBody(c *chunkInfo, buf []byte) error {
	if crc32.Checksum(buf, castagnoli) != c.head.CRC {
		return r.note(c, DamageBody, errors.New("body checksum does not match"))
	}
	return nil
}

// openBody opens and unpacks what has been checked, into dst where that has room;
// the result may also lie in buf.
func (r *Reader) openBody(c *chunkInfo, buf, dst []byte) ([]byte, error) {
	stored := buf[:c.head.Stored]
	m, err := c.bodyMeta()
	if err != nil {
		return nil, r.note(c, DamageContent, err)
	}
	if c.head.Flags&flagSealed != 0 {
		if m.Epoch == 0 || !r.Encrypted() && !r.headless {
			return nil, r.note(c, DamageContent, fmt.Errorf("sealed body of epoch %d, in a tape that is not sealed or for a key that there cannot be", m.Epoch))
		}
		k, err := r.epochKey(m.Epoch)
		if err != nil {
			return nil, fmt.Errorf("chunk %d at byte %d: %w", c.head.Number, c.off, err)
		}
		if stored, err = k.open(&c.head, stored); err != nil {
			return nil, r.note(c, DamageContent, fmt.Errorf("sealed body: %w", err))
		}
	}
	plain, err := decodeBody(m.Codec, stored, c.head.Size, dst)
	if err != nil {
		return nil, r.note(c, DamageContent, err)
	}
	return plain, nil
}

// body is readBody with the header read again from the file when an index was
// believed until now.
func (r *Reader) body(c *chunkInfo) ([]byte, error) {
	s := scanner{src: r.src, size: r.size, tape: &c.head.Tape}
	h, err := s.readHead(c.off)
	if err == nil && (h.Number != c.head.Number || h.Type != c.head.Type || h.CRC != c.head.CRC || string(h.Meta) != string(c.head.Meta)) {
		err = errors.New("another chunk than the index says")
	}
	if err != nil {
		return nil, r.note(c, DamageHeader, err)
	}
	return r.readBody(c)
}

// epochKey opens the key of an epoch with the identities given.
func (r *Reader) epochKey(epoch uint32) (*epochKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.epochs[epoch]; ok {
		return e.key, e.err
	}
	e := epochResult{err: fmt.Errorf("epoch %d: %w", epoch, ErrNoKey)}
	if len(r.opts.Identities) > 0 {
		for _, k := range r.keys[epoch] {
			key, err := k.unwrap(r.tape, r.opts.Identities)
			if err == nil {
				e = epochResult{key: key}
				break
			}
			e.err = fmt.Errorf("%w: %w", ErrNoKey, err)
		}
	}
	r.epochs[epoch] = e
	return e.key, e.err
}

// Header is the tape's header. Of a tape that lost all copies of it only the
// version and the tape id are known.
func (r *Reader) Header() FileHeader { return r.header }

// Sealed reports whether the recording was completed.
func (r *Reader) Sealed() bool { return r.sealed }

// Encrypted reports whether the content is sealed to recipients.
func (r *Reader) Encrypted() bool { return r.header.Incompat&FeatureSealed != 0 }

// Damage lists what is known to be wrong with the tape: after Open what its
// structure shows, after reading also what reading met. Verify looks at every byte.
func (r *Reader) Damage() []Damage {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Damage, len(r.damage))
	for i, d := range r.damage {
		out[i] = *d
	}
	slices.SortStableFunc(out, func(a, b Damage) int { return int(min(max(a.Offset-b.Offset, -1), 1)) })
	return out
}

// Streams lists the streams, by ID. The definition of a stream that was lost
// has only ID, kind and the name "?".
func (r *Reader) Streams() []StreamDef { return sorted(r.streams) }

// Snapshots lists the snapshots, by ID, those without an end included.
func (r *Reader) Snapshots() []SnapshotInfo {
	var out []SnapshotInfo
	for _, id := range slices.Sorted(maps.Keys(r.snaps)) {
		out = append(out, *r.snaps[id])
	}
	return out
}

// Gaps lists the gap records, in order.
func (r *Reader) Gaps() []Gap { return sorted(r.gaps) }

// Anchors lists the clock anchors, in order; the one of the file header first.
func (r *Reader) Anchors() []Anchor { return append([]Anchor{r.header.Start}, sorted(r.anchors)...) }

func sorted[K StreamID | uint64, V any](m map[K]V) []V {
	out := make([]V, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}
