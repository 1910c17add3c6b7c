package memory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/capture/internal/xenabi"
	"github.com/xentape/xentape/format"
)

// Source takes snapshots of one guest. It is a capture.Source.
type Source struct {
	cfg    Config
	sink   capture.Sink
	stream format.StreamID
	reader reader
	asks   chan chan error
	ended  chan struct{} // closed when Run is over

	// What the last snapshot left; only Run's goroutine touches it.
	hashes     *hashes
	log        *dirtyLog // nil: changes are found by hash
	logged     bool      // the dirty log covers everything since the last snapshot
	parent     uint32    // 0: the next snapshot is a full one
	pages      uint64    // of the last snapshot
	sinceAudit int

	mu    sync.Mutex
	stats Stats
	loss  capture.Loss
}

// Stats are what the source has done so far.
type Stats struct {
	Snapshots uint64            `json:"snapshots"`
	Failed    uint64            `json:"failed"`
	Fuzzy     uint64            `json:"fuzzy"`
	Missed    uint64            `json:"missed"` // pages that audits found changed and untracked
	LastID    uint32            `json:"last_id"`
	Last      format.Conditions `json:"last"`
	Longest   time.Duration     `json:"longest_pause"`
	// How long the last took until all of it was in a file, spool or tape, and until
	// it was on the tape, hashed and compressed.
	LastCaptured time.Duration `json:"last_captured"`
	LastTaken    time.Duration `json:"last_taken"`
}

// New makes a source. Attach looks at the guest.
func New(c Config) *Source {
	c.setDefaults()
	return &Source{
		cfg: c, asks: make(chan chan error), ended: make(chan struct{}), hashes: newHashes(),
		reader: reader{x: c.Xen, domain: c.Domain},
	}
}

// Name is part of capture.Source.
func (s *Source) Name() string { return "memory" }

// Attach defines the stream. It fails when the guest cannot be read at all.
func (s *Source) Attach(_ context.Context, sink capture.Sink) error {
	info, err := s.cfg.Xen.DomainInfo(s.cfg.Domain)
	if err != nil {
		return err
	}
	if bits, err := s.cfg.Xen.AddressSize(s.cfg.Domain); err == nil && !info.HVM() && bits == 32 {
		return fmt.Errorf("domain %d is a 32-bit PV guest: its p2m is laid out differently and is not supported", s.cfg.Domain)
	}
	if s.cfg.Type == "" {
		s.cfg.Type = PV
		if info.HVM() {
			s.cfg.Type = HVM
		}
	}
	if s.cfg.Tracking == TrackLogDirty {
		s.log = &dirtyLog{x: s.cfg.Xen, pauser: s.cfg.Pauser, domain: s.cfg.Domain, savers: s.cfg.Savers, wait: s.cfg.TrackWait}
	}
	major, minor := s.cfg.Xen.Release()
	d := format.StreamDef{
		Kind: format.StreamMemory, Name: "memory", Domain: info.Handle, DomID: s.cfg.Domain, Epoch: s.cfg.Epoch,
		Size: info.TotalPages * xenabi.PageSize,
		Attrs: []format.Attr{
			{Name: "guest-type", Value: string(s.cfg.Type)},
			{Name: "vcpus", Value: fmt.Sprint(info.MaxVCPUID + 1)},
			{Name: "xen-version", Value: fmt.Sprintf("%d.%d", major, minor)},
			{Name: "tracking", Value: string(s.cfg.Tracking)},
			{Name: "pause-budget", Value: s.cfg.PauseBudget.String()},
		},
	}
	d.Time = s.cfg.Clock.Now()
	s.sink = sink
	s.reader.keep = mayLinger(s.cfg.Xen)
	s.stream, err = sink.DefineStream(d)
	return err
}

// retryLast is the longest time after which a snapshot that failed is tried again.
const retryLast = 5 * time.Minute

// Run takes snapshots as configured and on request until ctx ends. A snapshot that
// fails is on the tape as an event, and one that was not asked for is tried again: of
// a guest that is only booting there may be nothing to read. Run ends with an error
// only when the guest is gone or the tape fails.
func (s *Source) Run(ctx context.Context) error {
	defer close(s.ended)
	var tick, again <-chan time.Time
	retry := s.cfg.Retry
	unasked := func() error {
		failure, err := s.take(ctx)
		if failure == nil {
			again, retry = nil, s.cfg.Retry
			return err
		}
		if s.cfg.Failed != nil && ctx.Err() == nil {
			s.cfg.Failed(failure, retry)
		}
		again, retry = time.After(retry), min(2*retry, retryLast)
		return err
	}
	left := s.cfg.Automatic
	if left != 0 {
		left--
		if err := unasked(); err != nil {
			return err
		}
	}
	if s.cfg.Every > 0 {
		t := time.NewTicker(s.cfg.Every)
		defer t.Stop()
		tick = t.C
	}
	for {
		if left == 0 {
			tick = nil
		}
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
			left--
			err = unasked()
		case <-again:
			err = unasked()
		case reply := <-s.asks:
			var failure error
			failure, err = s.take(ctx)
			reply <- failure
		}
		if err != nil {
			return err
		}
	}
}

// errEnded answers requests for snapshots once Run is over.
var errEnded = errors.New("the recording of memory has ended")

// Snapshot asks Run for a snapshot now and waits for it.
func (s *Source) Snapshot(ctx context.Context) error {
	reply := make(chan error, 1)
	select {
	case s.asks <- reply:
	case <-s.ended:
		return errEnded
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take takes one snapshot. fatal is not nil when there is no point in going on.
func (s *Source) take(ctx context.Context) (failure, fatal error) {
	failure = s.snapshot(ctx)
	if failure == nil {
		return nil, nil
	}
	s.mu.Lock()
	s.stats.Failed++
	s.mu.Unlock()
	if ctx.Err() != nil {
		return failure, nil
	}
	s.event("snapshot-failed", "reason", failure.Error())
	s.loss.LoseUnknown()
	info, err := s.cfg.Xen.DomainInfo(s.cfg.Domain)
	if err != nil {
		return failure, errors.Join(failure, err)
	}
	if info.Gone() {
		return failure, failure
	}
	return failure, nil
}

// settle remembers what the next snapshot builds on.
func (s *Source) settle(sh *shot, failed error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if failed != nil {
		// What was half read is no base for saying "unchanged".
		s.parent, s.logged = 0, false
		s.hashes.forget()
		return
	}
	s.parent, s.pages = sh.w.ID(), max(sh.layout.pages, s.pages)
	s.sinceAudit++
	if sh.audited || sh.cond.Method != "log-dirty+grants" {
		s.sinceAudit = 0
	}
	s.stats.Snapshots++
	s.stats.LastID, s.stats.Last = sh.w.ID(), sh.cond
	s.stats.LastCaptured = time.Duration(sh.captured - sh.cond.CopyStart)
	s.stats.LastTaken = time.Duration(s.cfg.Clock.Now() - sh.cond.CopyStart)
	if sh.cond.Fuzzy {
		s.stats.Fuzzy++
	}
	if sh.audited {
		s.stats.Missed += sh.cond.Missed
	}
	s.stats.Longest = max(s.stats.Longest, time.Duration(sh.cond.Unpause-sh.cond.PauseCall))
	s.loss.Observe(int(sh.cond.Changed) * format.PageSize)
}

// Stats says what was done so far.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Loss is part of capture.LossReporter: a record is a snapshot.
func (s *Source) Loss() capture.LossCounts { return s.loss.Loss() }

// Close is part of capture.Source.
func (s *Source) Close() error {
	if s.log == nil {
		return nil
	}
	return s.log.end()
}

func (s *Source) inFlight() uint32 {
	if s.cfg.Backends == nil {
		return 0
	}
	var n uint32
	for _, b := range s.cfg.Backends() {
		n += b.InFlight()
	}
	return n
}

// event puts an event of the memory stream on the tape. A tape that fails is
// noticed by the next snapshot.
func (s *Source) event(kind string, attrs ...string) {
	e := format.Event{Kind: kind}
	e.Stream, e.Time = s.stream, s.cfg.Clock.Now()
	for i := 0; i+1 < len(attrs); i += 2 {
		e.Attrs = append(e.Attrs, format.Attr{Name: attrs[i], Value: attrs[i+1]})
	}
	if err := s.sink.Write(&e); err != nil {
		s.loss.SinkFailed()
	}
}
