package process

import "github.com/xentape/xentape/analyze/internal/linux"

// Summary is what the analysis as a whole says.
type Summary struct {
	Snapshots  int          `json:"snapshots"`
	Processes  int          `json:"processes"` // over all snapshots, residue aside
	Residue    int          `json:"residue"`
	Unseen     *int64       `json:"born_and_gone_unseen"` // sum over the intervals; null when one is not known
	Intervals  []Interval   `json:"intervals"`
	Symbols    []linux.Step `json:"symbols"`
	Kernel     string       `json:"kernel"` // linux_banner of the last snapshot read
	Boots      int          `json:"boots"`
	CouldNot   []Problem    `json:"could_not_look"`
	Incomplete int          `json:"incomplete"` // processes of which something could not be read
	Findings   int          `json:"findings"`
}

// Summary summarises all snapshots fed.
func (a *Analyzer) Summary() Summary {
	s := Summary{Snapshots: len(a.snaps), Intervals: a.model.intervals, Findings: len(a.model.findings)}
	s.Intervals = append([]Interval{}, s.Intervals...)
	s.Symbols, s.CouldNot = []linux.Step{}, []Problem{}
	for _, p := range a.model.byID {
		if p.Incomplete != nil && p.Grade != Residue {
			s.Incomplete++
		}
		if p.Grade == Residue {
			s.Residue++
		} else {
			s.Processes++
		}
	}
	for _, x := range a.snaps {
		s.CouldNot = append(s.CouldNot, x.problems...)
		if x.steps != nil {
			s.Symbols, s.Kernel, s.Boots = x.steps, x.banner, a.model.boot+1
		}
	}
	total := int64(0)
	for _, in := range a.model.intervals {
		if in.Unseen == nil {
			return s
		}
		total += *in.Unseen
	}
	if len(a.model.intervals) > 0 {
		s.Unseen = &total
	}
	return s
}
