package capture

import (
	"context"

	"github.com/xentape/xentape/format"
)

// Sink is where a source puts what it observed; format.Writer satisfies it.
// Write does not block longer than a copy of the record's bytes takes:
// back-pressure is the source's loss, to be accounted for, never the guest's.
type Sink interface {
	DefineStream(format.StreamDef) (format.StreamID, error)
	Write(format.Record) error
	// BeginSnapshot opens an image of a stream that was defined.
	BeginSnapshot(format.SnapshotBegin) (*format.SnapshotWriter, error)
}

// Source observes one thing.
type Source interface {
	// Name is how the source is called in messages: "memory", "xvda", "vif0".
	Name() string
	// Attach begins observing and defines the source's streams. An error means
	// that the source is not available, and why; the recording goes on without it.
	Attach(ctx context.Context, s Sink) error
	// Run observes until ctx ends, accounts for what it lost, and returns nil; an
	// error means that the source failed before that.
	Run(ctx context.Context) error
	// Close releases what Attach took. It is called once, after Run.
	Close() error
}
