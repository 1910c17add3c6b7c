package files

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// digest is what is kept of a file's content at one moment: hash, entropy, format,
// and the text itself when it is small enough to be compared. The content is read when
// the digest is asked for, and counted beside the analysis: the methods wait for that.
type digest struct {
	size uint64
	// generation tells whose content this was: inode numbers are used again
	generation uint64
	read       bool // to the end; else there is nothing to be had
	unknown    bool // bytes of it were never captured

	counted chan struct{} // closed when what follows is there
	sum     [sha256.Size]byte
	bits    float64
	nuls    bool // there are bytes 0 in it, as where content has not come yet
	format  string
	textual bool
	chars   []byte // nil where they are not kept
}

// sha is the hash in hexadecimal; "" when the content was not read: too large, or not
// known.
func (d *digest) sha() string {
	if !d.read {
		return ""
	}
	<-d.counted
	return hex.EncodeToString(d.sum[:])
}

func (d *digest) entropy() *float64 {
	if !d.read {
		return nil
	}
	<-d.counted
	x := d.bits
	return &x
}

func (d *digest) magic() string {
	if !d.read {
		return ""
	}
	<-d.counted
	return d.format
}

// text is the whole content of a small text file, nil of others.
func (d *digest) text() []byte {
	if !d.read {
		return nil
	}
	<-d.counted
	return d.chars
}

// whole reports whether all of a text was there: what has yet to reach the disk reads as
// zeros.
func (d *digest) whole() bool {
	if !d.read {
		return false
	}
	<-d.counted
	return !d.nuls
}

// same reports whether both are of the same bytes, as far as is known.
func (d *digest) same(o *digest) bool {
	if !d.read || !o.read {
		return false
	}
	<-d.counted
	<-o.counted
	return d.sum == o.sum
}

// kept is what is remembered of it: all but the text.
func (d *digest) kept() *digest {
	<-d.counted
	k := *d
	k.counted, k.chars = always, nil
	return &k
}

// retold is a digest that was kept, with its text read again.
func (d *digest) retold(text func() []byte) *digest {
	<-d.counted
	if !d.textual || d.chars != nil {
		return d
	}
	k := *d
	k.chars = text()
	return &k
}

var always = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

const (
	// partSize is how much of a content is read, and then counted, at a time.
	partSize = 256 << 10
	// maxParts bounds the parts that are read and not yet counted, of all contents
	// together: a reader that finds none left waits for one.
	maxParts = 8
	// smallContent is counted at once: to hand it over would take as long.
	smallContent = 16 << 10
)

// newParts makes room to read contents into.
func newParts() chan []byte {
	free := make(chan []byte, maxParts)
	for range maxParts {
		free <- nil // made when it is first needed
	}
	return free
}

// content takes in what a file holds.
func (v *volumeState) content(id fs.ID, a fs.Attr) *digest {
	d := &digest{size: a.Size, generation: a.Generation}
	content, err := v.fs.Content(id)
	if err != nil || a.Size > v.a.o.HashLimit {
		return d
	}
	keep := v.a.o.DiffLimit > 0 && a.Size <= uint64(v.a.o.DiffLimit)
	d.read = v.a.count(content, []fs.Range{{Len: a.Size}}, &counter{digest: d, hash: sha256.New(), text: keep})
	d.unknown = !d.read
	return d
}

// text is the whole content of a file that is known to be a small text.
func (v *volumeState) text(id fs.ID, a fs.Attr) []byte {
	content, err := v.fs.Content(id)
	if err != nil {
		return nil
	}
	b := make([]byte, a.Size)
	if n, err := content.ReadAt(b, 0); n < len(b) || err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	return b
}

// maxEntropy bounds how much of the written ranges is read for their entropy.
const maxEntropy = 4 << 20

// writtenContent takes in the entropy of what was written alone.
func (v *volumeState) writtenContent(id fs.ID, ranges []fs.Range) *digest {
	d := &digest{}
	content, err := v.fs.Content(id)
	if err != nil {
		return d
	}
	var sample []fs.Range
	left := uint64(maxEntropy)
	for _, r := range ranges {
		r.Len = min(r.Len, left)
		left -= r.Len
		sample = append(sample, r)
	}
	d.read = v.a.count(content, sample, &counter{digest: d})
	return d
}

// count reads ranges of a content and has them counted. It reports whether all could
// be read.
func (a *Analyzer) count(content fs.Content, ranges []fs.Range, c *counter) bool {
	c.digest.counted = make(chan struct{})
	full := make(chan []byte, maxParts)
	if length(ranges) > smallContent {
		go c.count(full, a.parts)
	} else { // one part
		defer c.count(full, a.parts)
	}
	defer close(full)
	return a.read(content, ranges, full)
}

// read fills parts with the bytes of the ranges, end to end.
func (a *Analyzer) read(content fs.Content, ranges []fs.Range, full chan<- []byte) bool {
	var part []byte
	for _, r := range ranges {
		for r.Len > 0 {
			if part == nil {
				if part = <-a.parts; part == nil {
					part = make([]byte, 0, partSize)
				}
			}
			room := part[len(part):min(uint64(cap(part)), uint64(len(part))+r.Len)]
			n, err := content.ReadAt(room, int64(r.Off))
			if err != nil && !errors.Is(err, io.EOF) || n == 0 {
				a.parts <- part[:0]
				return false
			}
			r.Off, r.Len, part = r.Off+uint64(n), r.Len-uint64(n), part[:len(part)+n]
			if len(part) == cap(part) {
				full <- part
				part = nil
			}
		}
	}
	if part != nil {
		full <- part
	}
	return true
}

// counter makes a digest of the parts of a content.
type counter struct {
	digest *digest
	hash   hash.Hash // nil: the entropy alone
	text   bool      // keep it, if text is what it is
	begun  bool
	bytes  histogram
}

// count takes the parts in and gives their room back.
func (c *counter) count(full <-chan []byte, free chan<- []byte) {
	for part := range full {
		c.add(part)
		free <- part[:0]
	}
	d := c.digest
	d.bits, d.nuls = c.bytes.entropy(), c.bytes.count[0] > 0
	if c.hash != nil {
		c.hash.Sum(d.sum[:0])
	}
	if d.textual = d.chars != nil && isText(d.chars); !d.textual {
		d.chars = nil
	}
	close(d.counted)
}

func (c *counter) add(part []byte) {
	c.bytes.add(part)
	if c.hash == nil {
		return
	}
	c.hash.Write(part)
	d := c.digest
	if !c.begun {
		c.begun, d.format = true, magic(part)
	}
	if c.text = c.text && bytes.IndexByte(part, 0) < 0; c.text {
		d.chars = append(d.chars, part...)
	} else {
		d.chars = nil
	}
}
