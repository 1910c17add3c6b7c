package main

import (
	"fmt"

	"github.com/xentape/xentape/analyze/story"
)

// maxProblems is how many different problems are said one by one.
const maxProblems = 20

// sayOnce warns of problems, equal ones once with their number, and of no more
// than a person reads.
func (t *terminal) sayOnce(problems []string) {
	count := map[string]int{}
	var order []string
	for _, p := range problems {
		if count[p]++; count[p] == 1 {
			order = append(order, p)
		}
	}
	for i, p := range order {
		if i == maxProblems {
			t.warnf("and %d other problems", len(order)-i)
			return
		}
		if n := count[p]; n > 1 {
			p += fmt.Sprintf(" (%d times)", n)
		}
		t.warnf("%s", printable(p))
	}
}

func problemText(prefix string, problems []story.Problem) []string {
	var all []string
	for _, p := range problems {
		all = append(all, prefix+p.Stream+": "+p.Reason)
	}
	return all
}
