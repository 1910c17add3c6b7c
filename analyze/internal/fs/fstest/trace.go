package fstest

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Trace reads a recording in the format of Linux's dm-log-writes
// (drivers/md/dm-log-writes.c): 512-byte entries, each followed by its data.
type Trace struct {
	r    *bufio.Reader
	left uint64
	seq  uint64
}

// Step is one entry of a trace.
type Step struct {
	Mark  string // not empty: a mark
	Flush bool
	Write fs.Write // Len is 0 for a mark or a bare flush
}

// NewTrace reads the header.
func NewTrace(r io.Reader) (*Trace, error) {
	t := &Trace{r: bufio.NewReaderSize(r, 1<<20)}
	var h [512]byte
	if _, err := io.ReadFull(t.r, h[:]); err != nil {
		return nil, fmt.Errorf("trace header: %w", err)
	}
	if m := binary.LittleEndian.Uint64(h[:]); m != 0x6a736677736872 {
		return nil, fmt.Errorf("trace header: magic %#x", m)
	}
	t.left = binary.LittleEndian.Uint64(h[16:])
	return t, nil
}

// Next returns the following entry, io.EOF after the last.
func (t *Trace) Next() (Step, error) {
	if t.left == 0 {
		return Step{}, io.EOF
	}
	t.left--
	t.seq++
	var h [512]byte
	if _, err := io.ReadFull(t.r, h[:]); err != nil {
		return Step{}, fmt.Errorf("trace entry %d: %w", t.seq, err)
	}
	sector, n := binary.LittleEndian.Uint64(h[0:]), binary.LittleEndian.Uint64(h[8:])
	flags, l := binary.LittleEndian.Uint64(h[16:]), binary.LittleEndian.Uint64(h[24:])
	at := fs.Stamp{Seq: t.seq, Time: int64(binary.LittleEndian.Uint64(h[504:]))}
	switch {
	case flags&8 != 0:
		return Step{Mark: string(h[32 : 32+min(l, 400)])}, nil
	case flags&4 != 0:
		return Step{Write: fs.Write{Stamp: at, Op: fs.OpDiscard, Off: sector * 512, Len: n * 512}}, nil
	case n == 0:
		return Step{Flush: true, Write: fs.Write{Stamp: at}}, nil
	}
	if n > 1<<16 {
		return Step{}, fmt.Errorf("trace entry %d: %d sectors", t.seq, n)
	}
	data := make([]byte, n*512)
	if _, err := io.ReadFull(t.r, data); err != nil {
		return Step{}, fmt.Errorf("trace entry %d: %w", t.seq, err)
	}
	return Step{Flush: flags&1 != 0, Write: fs.Write{Stamp: at, Off: sector * 512, Len: n * 512, Data: data}}, nil
}
