package format

import (
	"fmt"
	"io"
	"sync"
)

// draft is a chunk on its way to the file. Its number is given when it is cut;
// compression and hashing then run on any worker, and the chunks are written in
// the order of their numbers, so that the tape does not depend on how many
// workers there are.
type draft struct {
	head  chunkHead
	plain []byte
	// meta completes the head's meta once the body is known; it runs on a worker.
	meta func(plain []byte, b bodyMeta) []byte
	// build makes the whole chunk when its turn to be written has come, from
	// what was written before it; it runs on the writing goroutine.
	build func(*emitter, *draft) error
	// after makes the draft no chunk but a point in the queue: it runs on the
	// writing goroutine when everything before it has been written.
	after func()
	key   *epochKey

	out    []byte
	buffer *[]byte // that out lies in; nil: one of its own
	leaf   [32]byte
	err    error
	done   chan struct{}
}

// pipeline is the goroutines between a Writer and its file.
type pipeline struct {
	queue chan *draft // in order of numbers, to the emitter
	work  chan *draft // to any worker
	wg    sync.WaitGroup
	em    *emitter
}

func startPipeline(w io.Writer, header FileHeader, workers int, compressor func() (Compressor, error)) (*pipeline, error) {
	p := &pipeline{queue: make(chan *draft, 2*workers), work: make(chan *draft, 2*workers)}
	encoders := make([]Compressor, workers+1)
	for i := range encoders {
		e, err := compressor()
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		encoders[i] = e
	}
	p.em = &emitter{w: w, header: header, packer: packer{enc: encoders[workers]}}
	for _, e := range encoders[:workers] {
		p.wg.Go(func() {
			k := &packer{enc: e}
			for d := range p.work {
				k.pack(d)
				close(d.done)
			}
		})
	}
	p.wg.Go(func() {
		for d := range p.queue {
			p.em.emit(d)
		}
	})
	return p, nil
}

// submit hands a chunk over; it waits while the pipeline is full.
func (p *pipeline) submit(d *draft) {
	if d.build == nil && d.after == nil {
		d.done = make(chan struct{})
		p.work <- d
	}
	p.queue <- d
}

// stop waits until everything submitted is written.
func (p *pipeline) stop() {
	close(p.work)
	close(p.queue)
	p.wg.Wait()
}

// packer makes chunks of drafts; it belongs to one goroutine.
type packer struct {
	enc     Compressor
	scratch []byte // what a body is compressed into
	sealed  []byte // what it is then encrypted into
}

// outBuffers are buffers of chunks that have been written, for others.
var outBuffers = sync.Pool{New: func() any { return new([]byte) }}

// pack compresses, seals and lays out the chunk.
func (k *packer) pack(d *draft) {
	if d.key != nil {
		defer d.key.done()
	}
	var bm bodyMeta
	stored := d.plain
	if d.meta != nil {
		stored, bm.Codec = encodeBody(k.enc, d.plain, k.scratch)
		if bm.Codec != codecNone {
			k.scratch = stored[:0]
		}
		if d.key != nil {
			bm.Epoch = d.key.epoch
			d.head.Flags |= flagSealed
		}
		d.head.Meta = d.meta(d.plain, bm)
	}
	d.head.Size = uint32(len(d.plain))
	if len(d.head.Meta) > maxMeta {
		d.err = fmt.Errorf("meta of %s chunk: %d bytes, the format allows %d", d.head.Type, len(d.head.Meta), maxMeta)
		return
	}
	if d.key != nil {
		k.sealed = d.key.seal(k.sealed[:0], &d.head, stored)
		stored = k.sealed
	}
	d.buffer = outBuffers.Get().(*[]byte)
	d.out = finishChunk(&d.head, stored, (*d.buffer)[:0])
	*d.buffer = d.out
	n := chunkHeaderSize + len(d.head.Meta)
	d.leaf = chunkLeaf(d.out[:n], d.out[n:])
	d.plain = nil
}

// emitter writes finished chunks and keeps what the next index and tree head
// need. It belongs to one goroutine.
type emitter struct {
	packer
	w      io.Writer
	header FileHeader
	offset int64
	tree   tree
	fresh  []indexEntry // chunks since the last index
	keys   []wrappedKey // epochs since the last index
	index  int64        // offset of the last index chunk
	signer *SigningKey
	note   []byte // the last tree head

	mu  sync.Mutex
	err error
}

func (e *emitter) failed() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

func (e *emitter) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
	}
}

func (e *emitter) emit(d *draft) {
	switch {
	case d.after != nil:
		d.after()
		return
	case d.build != nil:
		if e.failed() == nil {
			d.err = d.build(e, d)
		}
	default:
		<-d.done
	}
	if e.failed() != nil {
		return
	}
	if d.err != nil {
		e.fail(d.err)
		return
	}
	if _, err := e.w.Write(d.out); err != nil {
		e.fail(fmt.Errorf("write chunk %d at byte %d: %w", d.head.Number, e.offset, err))
		return
	}
	e.fresh = append(e.fresh, indexEntry{Offset: e.offset, Leaf: d.leaf, Head: d.head})
	e.offset += int64(len(d.out))
	e.tree.add(d.leaf)
	if d.buffer != nil {
		d.out = nil
		outBuffers.Put(d.buffer)
	}
}

// maxIndex bounds the chunks that one index lists.
const maxIndex = 4096

// buildIndex makes an index chunk of what was written since the last one.
func (e *emitter) buildIndex(d *draft) error {
	n := min(len(e.fresh), maxIndex)
	x := index{Previous: e.index, Header: e.header, Keys: e.keys, Entries: e.fresh[:n]}
	d.plain = x.append(nil)
	if len(d.plain) > MaxChunk {
		return fmt.Errorf("index of %d bytes: the format allows %d", len(d.plain), MaxChunk)
	}
	d.meta = func(_ []byte, b bodyMeta) []byte { return b.append(nil) }
	e.pack(d)
	e.index, e.fresh, e.keys = e.offset, append([]indexEntry(nil), e.fresh[n:]...), nil
	return d.err
}

// buildFooter makes the last chunk.
func (e *emitter) buildFooter(d *draft, lastSeq uint64) error {
	f := footer{Index: e.index, LastSeq: lastSeq, Size: e.tree.size, Root: e.tree.root()}
	d.head.Meta = f.append(nil)
	e.pack(d)
	return d.err
}
