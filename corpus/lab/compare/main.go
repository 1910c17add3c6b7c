// Command compare holds what xentape says of a recording against what the
// guest and its peer wrote down while it was made. Every difference it cannot
// explain, by a gap on the tape or by what the guest's own log says happened
// between a look and a snapshot, is printed and makes it fail.
//
//	compare [-xentape BIN] [-keep DIR] TAPE TRUTH-DIR
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	program := flag.String("xentape", "bin/xentape", "the `program` whose answers are compared")
	keep := flag.String("keep", "", "`directory` to keep the answers in")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: compare [-xentape BIN] [-keep DIR] TAPE TRUTH-DIR")
		os.Exit(2)
	}
	ok, err := run(verbs{program: *program, tape: flag.Arg(0), keep: *keep}, flag.Arg(1), os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run compares everything and reports whether all of it agreed.
func run(v verbs, dir string, w io.Writer) (bool, error) {
	t, err := readTruth(dir)
	if err != nil {
		return false, err
	}
	info, err := v.info()
	if err != nil {
		return false, err
	}
	gaps := gapsOf(info)
	var reports []*report
	snapshots, err := compareSnapshots(v, t, info)
	if err != nil {
		return false, err
	}
	reports = append(reports, snapshots...)
	files, err := answer[fileEvent](v, "files")
	if err != nil {
		return false, err
	}
	if len(t.notes) > 0 { // on a quiet day there is no intruder
		reports = append(reports, compareSteps(t, files, gaps))
	}
	reports = append(reports, compareTree(t, files, gaps))
	conns, err := answer[conn](v, "conns")
	if err != nil {
		return false, err
	}
	reports = append(reports, compareConns(t, conns, gaps))
	items, err := answer[storyItem](v, "story")
	if err != nil {
		return false, err
	}
	reports = append(reports, compareFindings(t.expected, items))
	if len(t.notes) > 0 {
		reports = append(reports, compareStory(t, items))
	}
	return print(w, reports), nil
}

// report is the outcome of one comparison.
type report struct {
	name        string
	matched     int
	explained   []string
	differences []string
}

func (r *report) differ(format string, a ...any) {
	r.differences = append(r.differences, fmt.Sprintf(format, a...))
}

func (r *report) explain(format string, a ...any) {
	r.explained = append(r.explained, fmt.Sprintf(format, a...))
}

// print writes the reports, and one JSON line for scripts, and reports
// whether there was no difference at all.
func print(w io.Writer, reports []*report) bool {
	ok := true
	sums := make(map[string][3]int, len(reports))
	for _, r := range reports {
		verdict := "same"
		// A comparison that compared nothing has not found things to be the same.
		if len(r.differences) > 0 || r.matched == 0 {
			verdict, ok = "DIFFERENT", false
		}
		fmt.Fprintf(w, "%-28s %-9s %4d matched, %d explained, %d different\n", r.name, verdict, r.matched, len(r.explained), len(r.differences))
		for _, d := range r.differences {
			fmt.Fprintf(w, "  - %s\n", d)
		}
		for _, e := range r.explained {
			fmt.Fprintf(w, "    (%s)\n", e)
		}
		sums[r.name] = [3]int{r.matched, len(r.explained), len(r.differences)}
	}
	line, err := json.Marshal(map[string]any{"ok": ok, "matched_explained_different": sums})
	if err != nil {
		return false
	}
	fmt.Fprintf(w, "%s\n", line)
	return ok
}
