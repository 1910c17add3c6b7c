package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xentape/xentape/analyze/files"
	"github.com/xentape/xentape/analyze/story"
	"github.com/xentape/xentape/replay"
)

type storyOptions struct {
	keyFlags
	symbols     string
	rules       []string
	noChecksums bool
	findings    bool
	json        bool
	refused     []string // rules of a folder that cannot be used
	written     []*scratch
}

func (o *storyOptions) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.symbols, "symbols", "", "BTF or ISF `file` for kernels that carry no types")
	f.StringArrayVar(&o.rules, "rules", nil, "more Sigma rules: a `file or folder` (repeatable)")
	f.BoolVar(&o.noChecksums, "no-checksums", false, "take packets whose checksum is wrong (Zeek's -C)")
	o.keyFlags.register(c)
}

// engine prepares the analysis of a tape. Close gives back what it takes.
func (o *storyOptions) engine(tape *replay.Tape) (*story.Engine, error) {
	rules, err := story.Rules()
	if err != nil {
		return nil, err
	}
	o.refused = nil
	for _, path := range o.rules {
		more, err := o.load(path)
		if err != nil {
			return nil, err
		}
		rules = append(rules, more...)
	}
	so := story.Options{IgnoreChecksums: o.noChecksums, Rules: rules, Scratch: o.scratch}
	if o.symbols != "" {
		if so.Symbols, err = os.ReadFile(o.symbols); err != nil {
			return nil, err
		}
	}
	return story.NewEngine(tape, so), nil
}

func (o *storyOptions) scratch() files.Scratch {
	s := &scratch{}
	o.written = append(o.written, s)
	return s
}

// Close removes what was written of disks.
func (o *storyOptions) Close() error {
	var err error
	for _, s := range o.written {
		err = errors.Join(err, s.Close())
	}
	o.written = nil
	return err
}

// load reads rules from a file, or from all of a folder. A rule of a folder that
// cannot be used is noted and left out: public collections have rules for events
// that a tape has none of.
func (o *storyOptions) load(path string) ([]*story.Rule, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return readRules(path)
	}
	var all []*story.Rule
	found := false
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if ext := filepath.Ext(p); err != nil || d.IsDir() || ext != ".yml" && ext != ".yaml" {
			return err
		}
		found = true
		rules, err := readRules(p)
		if err != nil {
			each, ok := story.RuleErrors(err)
			if !ok {
				return err
			}
			for _, e := range each {
				o.refused = append(o.refused, e.Error())
			}
		}
		all = append(all, rules...)
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("%s: no .yml or .yaml file in it", path)
	}
	return all, err
}

func readRules(path string) ([]*story.Rule, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return story.ParseRules(path, b)
}

func newStoryCommand(t *terminal) *cobra.Command {
	var o storyOptions
	c := &cobra.Command{
		Use:     "story TAPE",
		GroupID: "ask",
		Short:   "The three joined, in time order, with findings",
		Long: `story joins memory, disk and packets: which process held a connection, which wrote
a file, which file came over which connection; and draws conclusions by rules.
A relation is exact when both sides were seen together inside both lives, inferred
when they were seen together before or after.` + "\n" + exitStatusHelp,
		Example: `  xentape story incident.xtape
  xentape story --findings incident.xtape
  xentape story --rules our-rules.yml --json incident.xtape | jq 'select(.severity == "critical")'`,
		Args: nargs(1, 1),
		RunE: func(c *cobra.Command, args []string) error { return runStory(c.Context(), t, &o, args[0]) },
	}
	c.Flags().BoolVar(&o.findings, "findings", false, "only the findings")
	c.Flags().BoolVar(&o.json, "json", false, "one JSON object a line")
	o.register(c)
	return c
}

func runStory(ctx context.Context, t *terminal, o *storyOptions, path string) error {
	tape, err := o.openTape(path)
	if err != nil {
		return err
	}
	defer tape.Close()
	defer o.Close()
	e, err := o.engine(tape)
	if err != nil {
		return err
	}
	s, err := e.Run(func(seq uint64) { t.progress("record %d", seq) })
	t.clearProgress()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for i := range s.Items {
		it := &s.Items[i]
		if o.findings && it.Kind != story.KindFinding {
			continue
		}
		if o.json {
			if err := t.line(it); err != nil {
				return err
			}
			continue
		}
		printItem(t, it)
	}
	t.sayOnce(append(problemText("", e.Problems()), o.refused...))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(e.Problems())+len(o.refused) > 0 {
		return incomplete
	}
	return nil
}

// severityStyle is how loud a finding is.
var severityStyle = map[string]string{"critical": styleAlert, "high": styleAlert, "medium": styleWarn, "low": styleDim, "info": styleDim}

// printItem writes an item: the time, what it is, and the sentence, wrapped below
// itself so that it reads at 80 columns.
func printItem(t *terminal, it *story.Item) {
	when := "unknown time"
	if len(it.Time) >= 19 {
		when = it.Time[11:19]
		if len(it.Time) > 23 {
			when += it.Time[19:23]
		}
	}
	label := string(it.Kind)
	style := map[story.Kind]string{story.KindProcess: styleName, story.KindConnection: styleGood}[it.Kind]
	if it.Kind == story.KindFinding {
		label, style = strings.ToUpper(it.Severity), severityStyle[it.Severity]
	}
	const indent = 24
	lines := wrap(printable(it.Summary+interval(it)), t.width-indent)
	if it.Kind == story.KindFinding && it.Why != "" {
		lines = append(lines, wrap(printable(it.Why), t.width-indent)...)
	}
	for i, l := range lines {
		if i == 0 {
			t.printf("%-12s %s %s\n", when, t.style(style, fmt.Sprintf("%-10s", label)), l)
			continue
		}
		t.printf("%s%s\n", strings.Repeat(" ", indent), t.style(styleDim, l))
	}
}

// interval says how long after the time shown an event may have been, where that is
// more than a clock's tick: a time that is an interval stays one.
func interval(it *story.Item) string {
	const tick = 20 * time.Millisecond
	d := time.Duration(it.Upper() - it.At())
	if it.At() == 0 || d <= tick || it.Kind == story.KindConnection || it.Kind == story.KindGap || it.Kind == story.KindFinding {
		return ""
	}
	return fmt.Sprintf(" (or up to %s later)", d.Round(time.Millisecond))
}

// wrap breaks s at spaces into lines of at most n runes; longer words stand alone.
func wrap(s string, n int) []string {
	var lines []string
	line := ""
	for _, w := range strings.Fields(s) {
		if line != "" && len([]rune(line))+1+len([]rune(w)) > n {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return append(lines, line)
}
