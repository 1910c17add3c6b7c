package format

import (
	"crypto/rand"
	"io"
	"runtime"

	"filippo.io/age"
)

// WriterOptions say how a tape is written. The zero value of a field means its
// default.
type WriterOptions struct {
	TapeID     [16]byte // who the tape is; drawn from Rand when zero
	Producer   string   // program and version
	Start      Anchor
	Recipients []age.Recipient // content is encrypted to them when not empty
	Signer     *SigningKey     // nil: tree heads are recorded unsigned. The Writer evolves it in place
	Rand       io.Reader       // keys and the dedupe secret; crypto/rand when nil. With a fixed one, the tape of an unsealed recording is reproducible

	// Compressor makes the compressor of each worker; nil: the fastest level, which
	// keeps up with a guest. The tape does not tell which was used.
	Compressor func() (Compressor, error)

	// Spool is where a snapshot waits to be hashed and compressed (SnapshotWriter.Spool);
	// nil: nowhere. It should be a file beside the tape, named as the tape with SpoolSuffix.
	Spool      SpoolFile
	SpoolBytes int64 // how much may wait there while the guest runs; 1 GiB

	ChunkSize       int   // bytes of content at which a chunk is cut; 1 MiB
	Workers         int   // goroutines that compress; the number of CPUs, at most 8
	CheckpointEvery int   // chunks between automatic checkpoints; 256
	DedupePages     int   // pages remembered for storing content once, about 60 bytes each; 4 Mi
	DeltaMemory     int64 // bytes of previous page versions kept for storing differences; 64 MiB, negative: none
}

// deltaMemory is what a writer keeps of previous page versions, and an auditor, who
// then has at hand what the writer's differences are to.
const deltaMemory = 64 << 20

func (o *WriterOptions) setDefaults() {
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Compressor == nil {
		o.Compressor = newEncoder
	}
	if o.ChunkSize == 0 {
		o.ChunkSize = 1 << 20
	}
	if o.Workers <= 0 {
		o.Workers = min(runtime.GOMAXPROCS(0), 8)
	}
	if o.CheckpointEvery <= 0 {
		o.CheckpointEvery = 256
	}
	o.CheckpointEvery = min(o.CheckpointEvery, maxIndex/2)
	if o.DedupePages <= 0 {
		o.DedupePages = 4 << 20
	}
	if o.SpoolBytes <= 0 {
		o.SpoolBytes = 1 << 30
	}
	if o.DeltaMemory == 0 {
		o.DeltaMemory = deltaMemory
	}
}
