package process

import "github.com/xentape/xentape/analyze/internal/linux/objects"

// ExamineAll reads of every process what tells a live one that is in no list:
// for reducing a recording in which processes are to be hidden later.
func (a *Analyzer) ExamineAll() {
	v := objects.NewView(a.k)
	for _, p := range a.snaps[len(a.snaps)-1].procs {
		v.Examine(uint64(p.TaskAddress))
	}
}
