package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xentape/xentape/analyze/process"
	"github.com/xentape/xentape/replay"
)

type psOptions struct {
	keyFlags
	at      string
	tree    bool
	symbols string
	kernel  bool
	paused  bool
	json    bool
}

func newPsCommand(t *terminal) *cobra.Command {
	var o psOptions
	c := &cobra.Command{
		Use:     "ps TAPE",
		GroupID: "ask",
		Short:   "Processes: over the whole tape, or as they stood at a time",
		Long: `ps reads processes out of the guest's memory, without symbols: the tree, who they
ran as, what they had open, and where the kernel's own lists disagree.

It takes a tape, or a memory image: an ELF vmcore, xl dump-core, xl save, LiME
or raw image.` + "\n" + exitStatusHelp,
		Example: `  xentape ps incident.xtape
  xentape ps --tree --at '#2' incident.xtape
  xentape ps --json --at +90s incident.xtape | jq 'select(.grade != "seen")'
  xentape ps vmcore.elf`,
		Args: nargs(1, 1),
		RunE: func(c *cobra.Command, args []string) error { return runPs(c.Context(), t, &o, args[0]) },
	}
	f := c.Flags()
	f.StringVar(&o.at, "at", "", "the `time` to show: RFC 3339, +12.5s from the start of the tape, or #2 for a snapshot")
	f.BoolVar(&o.tree, "tree", false, "draw parents above their children")
	f.StringVar(&o.symbols, "symbols", "", "BTF or ISF `file` for kernels that carry no types")
	f.BoolVar(&o.paused, "paused", false, "for images of other tools: the guest stood still while this was copied")
	f.BoolVar(&o.kernel, "kernel", false, "show kernel threads in the text output too")
	f.BoolVar(&o.json, "json", false, "one JSON object a line, a summary last")
	o.register(c)
	return c
}

func runPs(ctx context.Context, t *terminal, o *psOptions, path string) error {
	popt := process.Options{}
	if o.symbols != "" {
		b, err := os.ReadFile(o.symbols)
		if err != nil {
			return err
		}
		popt.Symbols = b
	}
	a := process.New(popt)
	view, complete, err := feedProcesses(ctx, t, o, path, a)
	if err != nil {
		return err
	}
	procs := a.Processes()
	if view != 0 {
		procs = a.At(view)
	}
	sum := a.Summary()
	if o.json {
		for i := range procs {
			if err := t.line(&procs[i]); err != nil {
				return err
			}
		}
		if err := t.line(map[string]any{"summary": sum}); err != nil {
			return err
		}
	} else {
		printProcesses(t, procs, o)
		printProcessFindings(t, a.Findings())
	}
	if !complete || len(procs) == 0 {
		return incomplete
	}
	return nil
}

// feedProcesses gives the analyzer every snapshot up to the time asked for. view
// is the snapshot to show, 0 for all. complete is false when a snapshot could not
// be looked at; the reasons have been said.
func feedProcesses(ctx context.Context, t *terminal, o *psOptions, path string, a *process.Analyzer) (view int, complete bool, err error) {
	head, _, err := peek(path)
	if err != nil {
		return 0, false, err
	}
	if !isTape(head) {
		m, c, err := openMemory(path, o.paused)
		if err != nil {
			return 0, false, err
		}
		defer c.Close()
		if o.at != "" && o.at != "#1" {
			return 0, false, usagef("--at %s: %s is one memory image, at one time", o.at, path)
		}
		for _, w := range m.Warnings {
			t.warnf("%s", w)
		}
		return 0, feedSnapshot(t, a, m) && len(m.Warnings) == 0, nil
	}
	tape, err := o.openTape(path)
	if err != nil {
		return 0, false, err
	}
	defer tape.Close()
	infos := tape.Snapshots()
	if len(infos) == 0 {
		return 0, false, fmt.Errorf("%s: the tape holds no memory snapshot, so nothing can be said of processes", path)
	}
	last := len(infos)
	if o.at != "" {
		moment, err := momentAt(t, tape, o.at)
		if err != nil {
			return 0, false, err
		}
		m, err := tape.MemoryAt(moment)
		if err != nil {
			return 0, false, err
		}
		last, view = m.Info().Snapshot, m.Info().Snapshot
	}
	complete = true
	for n := 1; n <= last; n++ {
		if err := ctx.Err(); err != nil {
			return 0, false, err
		}
		t.progress("snapshot %d of %d", n, last)
		m, err := tape.Memory(n)
		if err != nil {
			t.warnf("%v", err)
			complete = false
			continue
		}
		complete = feedSnapshot(t, a, m) && complete
	}
	t.clearProgress()
	return view, complete, nil
}

// feedSnapshot reports whether the snapshot could be looked at.
func feedSnapshot(t *terminal, a *process.Analyzer, m replay.Memory) bool {
	if err := a.Feed(m); err != nil {
		for _, e := range unjoin(err) {
			t.warnf("%s: %s", m.Info().Source, printable(e.Error()))
		}
		return false
	}
	return true
}

// unjoin lists the errors that errors.Join put together.
func unjoin(err error) []error {
	var j interface{ Unwrap() []error }
	if errors.As(err, &j) {
		return j.Unwrap()
	}
	return []error{err}
}

func printProcesses(t *terminal, procs []process.Process, o *psOptions) {
	shown := procs[:0:0]
	kernel := 0
	for _, p := range procs {
		if p.KernelThread && !o.kernel {
			kernel++
			continue
		}
		shown = append(shown, p)
	}
	order, depth := make([]int, len(shown)), make([]int, len(shown))
	for i := range order {
		order[i] = i
	}
	if o.tree {
		order, depth = treeOrder(shown)
	}
	t.printf("%s\n", t.style(styleBold, fmt.Sprintf("%6s %6s %5s %10s  %s", "PID", "PPID", "UID", "START", "COMMAND")))
	for k, i := range order {
		p := &shown[i]
		indent := ""
		if depth[k] > 0 {
			indent = strings.Repeat("  ", min(depth[k], 8)-1) + "└ "
		}
		line := fmt.Sprintf("%6d %6d %5d %10s  ", p.PID, p.PPID, p.UID, startOffset(p.StartTime))
		note := gradeText(p)
		if p.Threads > 1 {
			note = fmt.Sprintf(" ×%d threads%s", p.Threads, note)
		}
		cmd := clip(indent+commandLine(p), max(20, t.width-len(line)-len(note)))
		switch {
		case p.Grade == process.Hidden:
			cmd = t.style(styleAlert, cmd)
		case p.ExitSnapshot != 0 || p.Grade == process.Residue:
			cmd = t.style(styleDim, cmd)
		}
		t.printf("%s%s%s\n", line, cmd, t.style(styleWarn, note))
	}
	if kernel > 0 {
		t.printf("%s\n", t.style(styleDim, fmt.Sprintf("and %d kernel threads (--kernel shows them)", kernel)))
	}
}

// gradeText is what is worth saying of a process besides that it was seen.
func gradeText(p *process.Process) string {
	switch {
	case p.Grade != process.Seen:
		return " ← " + string(p.Grade)
	case p.ExitSnapshot != 0:
		return " (gone by #" + strconv.Itoa(p.ExitSnapshot) + ")"
	}
	return ""
}

// startOffset writes a start time as seconds since the guest booted.
func startOffset(ns uint64) string {
	return fmt.Sprintf("+%.2fs", time.Duration(ns).Seconds())
}

// commandLine is what a person knows a process by: its arguments, else its
// executable, else its name, with the name beside it when that tells another
// story.
func commandLine(p *process.Process) string {
	cmd := strings.Join(p.Args, " ")
	if cmd == "" {
		cmd = p.Exe
	}
	if cmd == "" {
		return "[" + printable(p.Comm) + "]"
	}
	if arg0, _, _ := strings.Cut(cmd, " "); !strings.Contains(arg0, p.Comm) || (p.Exe != "" && strings.HasPrefix(cmd, "[")) {
		cmd += " {" + p.Comm
		if p.Exe != "" {
			cmd += " = " + p.Exe
		}
		cmd += "}"
	}
	return printable(cmd)
}

// treeOrder returns indexes so that children follow their parent, and the depth
// of each. A process whose parent is not shown is a root; a cycle, which only a
// damaged or lying guest has, is cut where it is entered.
func treeOrder(ps []process.Process) (order, depth []int) {
	byPID := map[int]int{}
	for i, p := range ps {
		byPID[p.PID] = i
	}
	children := map[int][]int{}
	var roots []int
	for i, p := range ps {
		parent, ok := byPID[p.PPID]
		if !ok || parent == i {
			roots = append(roots, i)
			continue
		}
		children[parent] = append(children[parent], i)
	}
	seen := make([]bool, len(ps))
	var walk func(i, d int)
	walk = func(i, d int) {
		if seen[i] {
			return
		}
		seen[i] = true
		order, depth = append(order, i), append(depth, d)
		for _, c := range children[i] {
			walk(c, d+1)
		}
	}
	for _, r := range roots {
		walk(r, 0)
	}
	for i := range ps {
		walk(i, 0)
	}
	return order, depth
}

func printProcessFindings(t *terminal, fs []process.Finding) {
	for _, f := range fs {
		mark := t.style(styleAlert, "!")
		for _, line := range wrap(printable(fmt.Sprintf("%s [%s]", f.Summary, f.Grade)), t.width-2) {
			t.printf("%s %s\n", mark, line)
			mark = " "
		}
	}
}
