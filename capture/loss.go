package capture

import "sync/atomic"

// A LossReporter is a source that counts what it observed and what it lost. The
// recorder polls it for status; the tape itself is told by format.Gap records.
type LossReporter interface {
	Loss() LossCounts
}

// LossCounts are totals since the source was attached.
type LossCounts struct {
	Observed     uint64 `json:"observed"`      // records the source saw and passed on
	Bytes        uint64 `json:"bytes"`         // payload bytes passed on
	Lost         uint64 `json:"lost"`          // records known to have existed and not on the tape
	LostBytes    uint64 `json:"lost_bytes"`    // their payload, where known
	LostUnknown  uint64 `json:"lost_unknown"`  // times something was lost that could not be counted
	SinkFailures uint64 `json:"sink_failures"` // records the sink refused
}

// Loss is a set of loss counters. Its methods are safe for concurrent use; the
// zero value is ready.
type Loss struct {
	observed, bytes, lost, lostBytes, unknown, sink atomic.Uint64
}

// Observe counts one record of n payload bytes passed to the sink.
func (l *Loss) Observe(n int) { l.observed.Add(1); l.bytes.Add(uint64(n)) }

// Lose counts records lost and their bytes (0 when not known).
func (l *Loss) Lose(records, bytes uint64) { l.lost.Add(records); l.lostBytes.Add(bytes) }

// LoseUnknown counts a loss of unknown extent.
func (l *Loss) LoseUnknown() { l.unknown.Add(1) }

// SinkFailed counts a record the sink refused.
func (l *Loss) SinkFailed() { l.sink.Add(1) }

// Loss returns the totals so far.
func (l *Loss) Loss() LossCounts {
	return LossCounts{
		Observed: l.observed.Load(), Bytes: l.bytes.Load(),
		Lost: l.lost.Load(), LostBytes: l.lostBytes.Load(),
		LostUnknown: l.unknown.Load(), SinkFailures: l.sink.Load(),
	}
}
