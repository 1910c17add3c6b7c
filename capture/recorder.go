//go:build linux

package capture

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/xentape/xentape/format"
)

// Tape is what the recorder writes to; *format.Writer is one.
type Tape interface {
	Sink
	Flush() error
	Checkpoint() error
	Seal() error
	Close() error
}

// RecorderOptions are the housekeeping of a recording. Zero values mean defaults.
type RecorderOptions struct {
	FlushEvery      time.Duration // what a crash may lose at most; 1 s
	AnchorEvery     time.Duration // 1 s
	CheckpointEvery time.Duration // between signed tree heads; 30 s
	// Report is told what happens, for the operator; may be nil.
	Report func(format string, args ...any)
	// Failed is told that the tape failed, before the sources end, which takes its
	// time; may be nil.
	Failed func(error)
}

func (o *RecorderOptions) setDefaults() {
	if o.FlushEvery == 0 {
		o.FlushEvery = time.Second
	}
	if o.AnchorEvery == 0 {
		o.AnchorEvery = time.Second
	}
	if o.CheckpointEvery == 0 {
		o.CheckpointEvery = 30 * time.Second
	}
	if o.Report == nil {
		o.Report = func(string, ...any) {}
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
}

// Recorder merges sources into one tape, ties its clock to the others, and seals it.
type Recorder struct {
	tape  Tape
	clock *Clock
	opts  RecorderOptions

	mu      sync.Mutex
	running map[Source]*running
}

type running struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// NewRecorder records onto a tape that was just begun.
func NewRecorder(t Tape, c *Clock, o RecorderOptions) *Recorder {
	o.setDefaults()
	return &Recorder{tape: t, clock: c, opts: o, running: map[Source]*running{}}
}

// Tape is where sources write.
func (r *Recorder) Tape() Tape { return r.tape }

// Clock is the time of the recording.
func (r *Recorder) Clock() *Clock { return r.clock }

// Add attaches a source and runs it. An error is also an event on the tape: the
// recording goes on without the source.
func (r *Recorder) Add(ctx context.Context, s Source) error {
	if err := s.Attach(ctx, r.tape); err != nil {
		r.Event("source-unavailable", "source", s.Name(), "reason", err.Error())
		return errors.Join(fmt.Errorf("%s is not recorded: %w", s.Name(), err), s.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	run := &running{cancel: cancel, done: make(chan struct{})}
	r.mu.Lock()
	r.running[s] = run
	r.mu.Unlock()
	go func() {
		defer close(run.done)
		err := s.Run(ctx)
		if err = errors.Join(err, s.Close()); err != nil {
			r.Event("source-failed", "source", s.Name(), "reason", err.Error())
			r.opts.Report("%s is not recorded any more: %v", s.Name(), err)
		}
		r.mu.Lock()
		delete(r.running, s)
		r.mu.Unlock()
	}()
	return nil
}

// Remove ends a source and waits until it has accounted for its losses.
func (r *Recorder) Remove(s Source) {
	r.mu.Lock()
	run := r.running[s]
	r.mu.Unlock()
	if run != nil {
		run.cancel()
		<-run.done
	}
}

// Losses are the counters of the sources that are running, by name.
func (r *Recorder) Losses() map[string]LossCounts {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]LossCounts{}
	for s := range r.running {
		if l, ok := s.(LossReporter); ok {
			out[s.Name()] = l.Loss()
		}
	}
	return out
}

// Event puts an event about the recording itself on the tape. A tape that fails is
// noticed by Run.
func (r *Recorder) Event(kind string, attrs ...string) {
	e := format.Event{Kind: kind}
	e.Time = r.clock.Now()
	for i := 0; i+1 < len(attrs); i += 2 {
		e.Attrs = append(e.Attrs, format.Attr{Name: attrs[i], Value: attrs[i+1]})
	}
	_ = r.tape.Write(&e)
}

// Run keeps house until ctx ends or the tape fails, then ends all sources and seals.
// A tape that failed is closed, readable up to the failure. Other than by ctx and
// the tape, a recording does not end.
func (r *Recorder) Run(ctx context.Context) error {
	failed := r.anchor()
	if failed == nil {
		failed = r.keepHouse(ctx)
	}
	if failed != nil {
		r.opts.Failed(failed)
	}
	r.mu.Lock()
	var left []Source
	for s := range r.running {
		left = append(left, s)
	}
	r.mu.Unlock()
	for _, s := range left {
		r.Remove(s)
	}
	if failed != nil {
		return errors.Join(failed, r.tape.Close())
	}
	r.Event("recording-ended")
	return errors.Join(r.anchor(), r.tape.Seal(), r.tape.Close())
}

func (r *Recorder) keepHouse(ctx context.Context) error {
	flush := time.NewTicker(r.opts.FlushEvery)
	defer flush.Stop()
	anchor := time.NewTicker(r.opts.AnchorEvery)
	defer anchor.Stop()
	checkpoint := time.NewTicker(r.opts.CheckpointEvery)
	defer checkpoint.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-anchor.C:
			err = r.anchor()
		case <-flush.C:
			err = r.tape.Flush()
		case <-checkpoint.C:
			err = r.tape.Checkpoint()
		}
		if err != nil {
			return fmt.Errorf("tape: %w", err)
		}
	}
}

// anchor ties the clocks together on the tape.
func (r *Recorder) anchor() error {
	a := r.clock.Anchor()
	if a.Stepped {
		r.opts.Report("the wall clock was set")
	}
	return r.tape.Write(&a)
}
