package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

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
}

func (o *storyOptions) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.symbols, "symbols", "", "BTF or ISF `file` for kernels that carry no types")
	f.StringArrayVar(&o.rules, "rules", nil, "more Sigma rules: a `file` (repeatable)")
	f.BoolVar(&o.noChecksums, "no-checksums", false, "take packets whose checksum is wrong (Zeek's -C)")
	o.keyFlags.register(c)
}

// engine prepares the analysis of a tape.
func (o *storyOptions) engine(tape *replay.Tape) (*story.Engine, error) {
	rules, err := story.Rules()
	if err != nil {
		return nil, err
	}
	for _, path := range o.rules {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		more, err := story.ParseRules(path, b)
		if err != nil {
			return nil, err
		}
		rules = append(rules, more...)
	}
	so := story.Options{IgnoreChecksums: o.noChecksums, Rules: rules}
	if o.symbols != "" {
		if so.Symbols, err = os.ReadFile(o.symbols); err != nil {
			return nil, err
		}
	}
	return story.NewEngine(tape, so), nil
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
	t.sayOnce(problemText("", e.Problems()))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(e.Problems()) > 0 {
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
	lines := wrap(printable(it.Summary), t.width-indent)
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
