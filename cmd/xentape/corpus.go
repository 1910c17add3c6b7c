package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xentape/xentape/corpus"
	"github.com/xentape/xentape/corpus/synth"
	"github.com/xentape/xentape/replay"
)

func newCorpusCommand(t *terminal) *cobra.Command {
	c := &cobra.Command{
		Use:     "corpus",
		GroupID: "move",
		Short:   "Tapes with expected findings: verify, update, add, list",
		Long: `A corpus is a folder of cases: a tape, where it comes from, and what the analyzers
are expected to say of it.` + "\n" + exitStatusHelp,
		Example: `  xentape corpus verify corpus/
  xentape corpus verify --junit result.xml corpus/
  xentape corpus add --name web-intrusion --from incident.xtape corpus/web-intrusion`,
		Args: nargs(1, -1),
		RunE: func(_ *cobra.Command, args []string) error {
			return usagef("corpus has no verb %q: see xentape corpus --help", args[0])
		},
	}
	c.AddCommand(newCorpusList(t), newCorpusVerify(t), newCorpusUpdate(t), newCorpusAdd(t))
	return c
}

func newCorpusList(t *terminal) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "list DIR", Short: "What a corpus covers", Args: nargs(1, 1),
		Example: "  xentape corpus list corpus/",
		RunE: func(_ *cobra.Command, args []string) error {
			cases, err := corpus.Load(args[0])
			if err != nil {
				return err
			}
			if !asJSON {
				t.printf("%s\n", t.style(styleBold, fmt.Sprintf("%-28s %-5s %-16s %-6s %s", "CASE", "GUEST", "KERNEL", "FS", "ATTACK")))
			}
			for _, c := range cases {
				if asJSON {
					if err := t.line(map[string]any{"name": c.Name, "summary": c.Summary, "guest": c.Covers.Guest, "kernel": c.Covers.Kernel,
						"filesystem": c.Covers.Filesystem, "attack": c.Covers.Attack, "tape": c.TapePath(), "sha256": c.Tape.SHA256, "url": c.Tape.URL, "outputs": c.Outputs()}); err != nil {
						return err
					}
					continue
				}
				t.printf("%-28s %-5s %-16s %-6s %s\n", printable(c.Name), c.Covers.Guest, c.Covers.Kernel, c.Covers.Filesystem, strings.Join(c.Covers.Attack, ", "))
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return c
}

func newCorpusVerify(t *terminal) *cobra.Command {
	var keys keyFlags
	var workers int
	var junit string
	var rules []string
	c := &cobra.Command{
		Use: "verify DIR", Short: "Replay every case and show what differs", Args: nargs(1, 1),
		Example: "  xentape corpus verify --workers 2 --junit result.xml corpus/",
		RunE: func(c *cobra.Command, args []string) error {
			return runCorpusVerify(c.Context(), t, &keys, rules, args[0], workers, junit)
		},
	}
	c.Flags().IntVar(&workers, "workers", 0, "cases at a time; 0 = one a processor")
	c.Flags().StringVar(&junit, "junit", "", "write JUnit XML to `file`")
	registerRules(c, &rules)
	keys.register(c)
	return c
}

func runCorpusVerify(ctx context.Context, t *terminal, keys *keyFlags, rules []string, dir string, workers int, junit string) error {
	cases, err := corpus.Load(dir)
	if err != nil {
		return err
	}
	n := 0
	results, err := corpus.Verify(ctx, cases, analyzeOutputs(keys, rules), workers, func(r *corpus.Result) {
		n++
		t.progress("%d of %d cases", n, len(cases))
	})
	t.clearProgress()
	if err != nil {
		return err
	}
	passed, differ, broken := 0, 0, 0
	for _, r := range results {
		if r.OK() {
			passed++
			t.printf("%s %s\n", t.style(styleGood, "ok  "), printable(r.Case.Name))
			continue
		}
		t.printf("%s %s\n", t.style(styleAlert, "FAIL"), printable(r.Case.Name))
		if r.Err != nil {
			broken++
			t.printf("  %s\n", printable(r.Err.Error()))
			continue
		}
		differ++
		var b strings.Builder
		corpus.WriteDifferences(&b, r.Differences)
		for line := range strings.Lines(b.String()) {
			t.printf("  %s\n", printable(strings.TrimRight(line, "\n")))
		}
	}
	t.printf("%d passed, %d failed\n", passed, differ+broken)
	if junit != "" {
		f, err := os.Create(junit)
		if err != nil {
			return err
		}
		if err := errors.Join(corpus.WriteJUnit(f, results), f.Close()); err != nil {
			return err
		}
	}
	switch {
	case broken > 0 && differ > 0:
		err = fmt.Errorf("%d of %d cases differ from what is expected, %d could not be run", differ, len(cases), broken)
	case differ > 0:
		err = fmt.Errorf("%d of %d cases differ from what is expected", differ, len(cases))
	case broken > 0:
		return fmt.Errorf("%d of %d cases could not be run", broken, len(cases))
	default:
		return nil
	}
	return &exitError{code: exitVerification, err: err}
}

// registerRules is a flag of every verb of corpus that analyzes: a case is verified
// with the rules it was made with.
func registerRules(c *cobra.Command, rules *[]string) {
	c.Flags().StringArrayVar(rules, "rules", nil, "tell the story with more Sigma rules: a `file or folder` (repeatable)")
}

func newCorpusUpdate(t *terminal) *cobra.Command {
	var keys keyFlags
	var rules []string
	c := &cobra.Command{
		Use: "update DIR", Short: "Rewrite the expectations and show what changed", Args: nargs(1, 1),
		Example: "  xentape corpus update corpus/tapes/web-intrusion",
		RunE: func(c *cobra.Command, args []string) error {
			cases, err := corpus.Load(args[0])
			if err != nil {
				return err
			}
			for _, k := range cases {
				d, err := corpus.Update(c.Context(), k, analyzeOutputs(&keys, rules))
				if err != nil {
					return fmt.Errorf("%s: %w", k.Name, err)
				}
				t.printf("%s: %d findings changed\n", printable(k.Name), len(d))
				var b strings.Builder
				corpus.WriteDifferences(&b, d)
				for line := range strings.Lines(b.String()) {
					t.printf("  %s\n", printable(strings.TrimRight(line, "\n")))
				}
			}
			return nil
		},
	}
	registerRules(c, &rules)
	keys.register(c)
	return c
}

func newCorpusAdd(t *terminal) *cobra.Command {
	var keys keyFlags
	var k corpus.Case
	var from string
	var outputs, findings, rules []string
	var minimize bool
	var tries int
	c := &cobra.Command{
		Use: "add DIR", Short: "Make a case of a tape and of what the analyzers say of it now", Args: nargs(1, 1),
		Example: "  xentape corpus add --name web-intrusion --from incident.xtape --origin 'lab, scenario web' --licence CC0-1.0 corpus/web-intrusion",
		RunE: func(c *cobra.Command, args []string) error {
			if from == "" || k.Name == "" || k.Origin == "" || k.Licence == "" {
				return usagef("corpus add needs --from, --name, --origin and --licence: a case without them is of no use to others")
			}
			k.Dir = args[0]
			if ext := filepath.Ext(from); ext == ".yaml" || ext == ".yml" {
				made, err := makeTape(from)
				if err != nil {
					return err
				}
				defer os.RemoveAll(filepath.Dir(made))
				from = made
			}
			if minimize {
				more := outputs
				if !c.Flags().Changed("output") {
					more = nil
				}
				return addMinimized(c.Context(), t, &keys, rules, &k, from, more, findings, tries)
			}
			if len(findings) > 0 {
				return usagef("--finding goes with --minimize")
			}
			if err := corpus.Add(c.Context(), &k, from, outputs, analyzeOutputs(&keys, rules)); err != nil {
				return err
			}
			t.printf("%s: case %s, sha256 %s\n", k.Dir, printable(k.Name), k.Tape.SHA256)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&from, "from", "", "the `tape`, which is copied into the case, or a scenario (.yaml) to make one of")
	f.StringSliceVar(&outputs, "output", corpus.Outputs, "which outputs the case expects; with --minimize, those of its findings and these")
	f.BoolVar(&minimize, "minimize", false, "keep of the tape only what the findings of --finding need")
	f.StringArrayVar(&findings, "finding", nil, "with --minimize: `OUTPUT[:TEXT]`, the lines of an output with a text in them (default: every finding of the story)")
	f.IntVar(&tries, "tries", 150, "with --minimize: how often it may analyze the tape")
	f.StringVar(&k.Name, "name", "", "name of the case")
	f.StringVar(&k.Summary, "summary", "", "one line on what happens in it")
	f.StringVar(&k.Origin, "origin", "", "where the recording comes from")
	f.StringVar(&k.Licence, "licence", "", "licence under which it may be passed on")
	f.StringVar(&k.Recipe, "recipe", "", "command or file that makes it again")
	f.StringVar(&k.Covers.Guest, "guest", "", "pv, pvh, hvm or bare")
	f.StringVar(&k.Covers.Kernel, "kernel", "", "release of the guest's kernel")
	f.StringVar(&k.Covers.Filesystem, "filesystem", "", "ext4, xfs, …")
	f.StringSliceVar(&k.Covers.Attack, "attack", nil, "what is in it")
	registerRules(c, &rules)
	keys.register(c)
	return c
}

// addMinimized makes a case of what some findings need of a tape.
func addMinimized(ctx context.Context, t *terminal, keys *keyFlags, rules []string, k *corpus.Case, from string, outputs, findings []string, tries int) error {
	if len(findings) == 0 {
		findings = []string{"story"}
	}
	m := &corpus.Minimizer{Analyze: analyzeOutputs(keys, rules), Trace: tracePages(keys), Tries: tries, Progress: func(n int, what string) {
		t.progress("try %d: without %s", n, what)
	}}
	for _, s := range findings {
		w, err := corpus.ParseWanted(s)
		if err != nil {
			return usagef("--%v", err)
		}
		m.Wanted = append(m.Wanted, w)
	}
	r, err := corpus.AddMinimized(ctx, k, from, outputs, m)
	t.clearProgress()
	if err != nil {
		return err
	}
	t.printf("%s: case %s, sha256 %s\n", k.Dir, printable(k.Name), k.Tape.SHA256)
	t.printf("%d findings kept; %d of %d packets, %d of %d disk records, %d of %d pages; %d tries\n", r.Findings,
		r.PacketsKept, r.Packets, r.RequestsKept, r.Requests, r.PagesKept, r.Pages, r.Tries)
	return nil
}

// tracePages tells of every page the analyzers read of a tape.
func tracePages(keys *keyFlags) corpus.Trace {
	return func(_ context.Context, path string, onPage func(uint32, uint64)) error {
		ids, err := keys.load()
		if err != nil {
			return err
		}
		tape, err := replay.Open(path, replay.Options{Identities: ids, OnPage: onPage})
		if err != nil {
			return err
		}
		defer tape.Close()
		var o storyOptions
		defer o.Close()
		engine, err := o.engine(tape)
		if err != nil {
			return err
		}
		_, err = engine.Run(nil)
		return err
	}
}

// makeTape makes the tape of a scenario in a folder of its own.
func makeTape(scenario string) (string, error) {
	s, err := synth.Load(scenario)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "xentape-corpus")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "tape.xtape")
	f, err := os.Create(path)
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	if err := errors.Join(s.Write(f), f.Close()); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return path, nil
}
