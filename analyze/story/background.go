package story

import (
	"fmt"
	"time"
)

func (j *joiner) snapshots(s *Story) {
	for i := range j.in.Snapshots {
		n := &j.in.Snapshots[i]
		how := "while the guest ran"
		if n.Paused {
			how = "with the guest paused"
		}
		s.add(Item{key: fmt.Sprint(n.Number), at: n.Realtime, rank: rankSnapshot, Kind: KindSnapshot, TimeBasis: "snapshot",
			Summary:  fmt.Sprintf("memory snapshot #%d, %s: %d processes", n.Number, how, len(n.Processes)),
			Evidence: []Evidence{{Stream: "memory", Records: []uint64{n.First, n.Last}}}})
	}
}

// clock tells how times of the guest and of the host belong together.
func (j *joiner) clock(s *Story) {
	c := j.in.Clock
	if c == nil {
		return
	}
	n := j.snapshot(c.Snapshot)
	ahead, way := c.Ahead, "ahead of"
	if ahead < 0 {
		ahead, way = -ahead, "behind"
	}
	s.add(Item{key: "clock", at: n.Realtime, rank: rankGap, Kind: KindClock, TimeBasis: "snapshot",
		Summary: fmt.Sprintf("the guest's clock is %s %s the recording host's, ±%s, at snapshot #%d; times here are the host's",
			time.Duration(ahead).Round(time.Microsecond), way, time.Duration(c.Uncertainty).Round(time.Millisecond), c.Snapshot),
		Evidence: []Evidence{{Stream: "memory", Records: []uint64{n.First, n.Last}, Detail: "timekeeper of the kernel"}}})
}

func (j *joiner) snapshot(n int) *Snapshot {
	for i := range j.in.Snapshots {
		if j.in.Snapshots[i].Number == n {
			return &j.in.Snapshots[i]
		}
	}
	return nil
}

func (j *joiner) gaps(s *Story) {
	for _, g := range j.in.Gaps {
		s.add(Item{key: fmt.Sprint(g.Record), at: g.From, upper: g.To, rank: rankGap, Kind: KindGap, Summary: fmt.Sprintf("%s: %s", g.Stream, g.Reason),
			Evidence: []Evidence{{Stream: g.Stream, Records: []uint64{g.Record}}}})
	}
}
