// Package rewrite writes a tape again, record by record: all of it, or only what is
// to be kept, with a gap in the place of the rest.
package rewrite

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// Mark follows the recorder's name in the header of a tape that was written again: what
// it seals is what was read from another tape, not what was observed.
const Mark = ", written again"

// Keep says what of a tape goes into the new one. A nil function keeps everything.
type Keep struct {
	Record   func(format.Record) bool                // packets, disk requests and completions, events, marks, anchors
	Snapshot func(format.SnapshotInfo) bool          // whole images
	Page     func(snapshot uint32, page uint64) bool // pages of the images kept
}

// Options say how the new tape is written.
type Options struct {
	Keep       Keep
	ChunkSize  int // bytes of a chunk; 0 = the writer's own choice
	Compressor func() (format.Compressor, error)
	// FlushEvery of the tape's own time, what was written is brought to the file, as
	// a recorder does it: the tape then grows as that of a running recording. 0 = at
	// the end.
	FlushEvery time.Duration
}

// Tape writes what o keeps of the tape r to w and seals it. It takes whole tapes
// that can be read without a key. What is left out of a stream is stated by one gap
// with [format.GapRedacted]; a page left out is [format.PageMissing]. Where all is
// kept, records keep their numbers. The new tape is in the present version of the
// format, is signed by nobody, and says that it was written again ([Mark]). The same
// tape and options give the same bytes.
func Tape(r *format.Reader, w io.Writer, o Options) error {
	if !r.Sealed() || r.Encrypted() || len(r.Damage()) > 0 {
		return fmt.Errorf("not a whole tape that can be read without a key")
	}
	h := r.Header()
	out, err := format.NewWriter(w, format.WriterOptions{TapeID: h.TapeID, Producer: strings.TrimSuffix(h.Producer, Mark) + Mark, Start: h.Start,
		Rand: rand.NewChaCha8(sha256.Sum256(h.TapeID[:])), ChunkSize: o.ChunkSize, DeltaMemory: 1 << 30, Compressor: o.Compressor})
	if err != nil {
		return err
	}
	p := &pass{r: r, w: out, keep: o.Keep, open: map[uint32]*format.SnapshotWriter{}, ids: map[uint32]uint32{}, stays: map[uint32]map[uint64]bool{}, gaps: map[format.StreamID]*format.Gap{}}
	flushed := h.Start.Time
	for rec, err := range r.Records(format.Query{}) {
		if err != nil {
			return err
		}
		if err := p.put(rec); err != nil {
			return fmt.Errorf("record %d: %w", rec.Header().Seq, err)
		}
		if t := rec.Header().Time; o.FlushEvery > 0 && t-flushed >= int64(o.FlushEvery) {
			flushed = t
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
	if err := p.closeGaps(); err != nil {
		return err
	}
	return out.Seal()
}

// File rewrites the tape at from into a new file.
func File(from, to string, o Options) (err error) {
	tape, err := replay.Open(from, replay.Options{MaxMemory: 1 << 30})
	if err != nil {
		return err
	}
	defer tape.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if err = Tape(tape.Reader(), out, o); err != nil {
		err = fmt.Errorf("%s: %w", from, err)
	}
	if e := out.Close(); err == nil {
		err = e
	}
	if err != nil {
		os.Remove(to)
	}
	return err
}
