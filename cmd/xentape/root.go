package main

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// version is what --version prints and what outputs record as their maker.
const version = "0.1.0"

// run is the whole program; tests call it in process.
func run(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	t := newTerminal(in, out, errw)
	root := newRootCommand(t)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(t.out)
	root.SetErr(errw)
	err := root.ExecuteContext(ctx)
	if ferr := t.out.Flush(); err == nil && ferr != nil {
		err = ferr
	}
	t.clearProgress()
	var e *exitError
	if err != nil && (!errors.As(err, &e) || !e.quiet) {
		t.warnf("%s", printable(err.Error()))
	}
	return exitCode(err)
}

func newRootCommand(t *terminal) *cobra.Command {
	root := &cobra.Command{
		Use:   "xentape",
		Short: "Replay the tape of a Xen guest: processes, files, connections and how they belong together",
		Long: `xentape reads tapes that xentaped recorded on a Xen host, and memory images,
disk traces and packet captures that other tools made.` + "\n" + exitStatusHelp,
		Example: `  xentape info incident.xtape
  xentape story incident.xtape
  xentape ps --tree --at '#2' incident.xtape
  xentape conns capture.pcap`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown verb %q: see xentape --help", args[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef("%w: see %s --help", err, c.CommandPath())
	})
	root.AddGroup(
		&cobra.Group{ID: "tape", Title: "The tape:"},
		&cobra.Group{ID: "ask", Title: "What happened:"},
		&cobra.Group{ID: "move", Title: "In and out:"},
	)
	for _, c := range verbs(t) {
		root.AddCommand(c)
	}
	return root
}

// nargs checks the number of arguments and says which were expected.
func nargs(lo, hi int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < lo || (hi >= 0 && len(args) > hi) {
			_, wanted, _ := strings.Cut(c.Use, " ")
			return usagef("usage: %s", strings.TrimSpace(c.CommandPath()+" "+wanted))
		}
		return nil
	}
}
