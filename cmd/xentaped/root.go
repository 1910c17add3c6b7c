package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// version is what --version prints and what tapes name as their maker.
const version = "0.1.0"

// Exit codes, the same as xentape's.
const (
	exitDone       = 0 // done and complete
	exitFailed     = 1
	exitUsage      = 2
	exitIncomplete = 3 // done, but something could not be recorded or looked at
)

// console is where a verb writes: results to out, everything else to err.
type console struct {
	out, err io.Writer
}

// notef tells the operator something, on one line with the program's name.
func (c *console) notef(format string, args ...any) {
	fmt.Fprintf(c.err, "xentaped: %s\n", strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; "))
}

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// errIncomplete ends a verb that did what it could and has said what it could not.
var errIncomplete = &exitError{exitIncomplete, errors.New("not everything could be recorded or looked at: see above")}

// run is the whole program.
func run(ctx context.Context, args []string, out, errw io.Writer) int {
	c := &console{out: out, err: errw}
	root := newRootCommand(c)
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errw)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	c.notef("%v", err)
	var e *exitError
	if errors.As(err, &e) {
		return e.code
	}
	return exitFailed
}

func newRootCommand(c *console) *cobra.Command {
	root := &cobra.Command{
		Use:   "xentaped",
		Short: "Record what a Xen guest does, without its knowledge and without harm to it",
		Long: `xentaped runs in dom0 and records guests onto tapes, which xentape reads anywhere:
memory snapshots, disk requests, packets, and the events of the guest's life.

Exit status: 0 done and complete; 1 failed; 2 wrong usage; 3 done, but something
could not be recorded or looked at.`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown verb %q: see xentaped --help", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w: see xentaped %s --help", err, cmd.Name())
	})
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(
		newRecordCommand(c),
		newSnapshotCommand(c),
		newRunCommand(c),
		newTriggerCommand(c),
		newStatusCommand(c),
		newDoctorCommand(c),
		newGuardCommand(),
		newBrokerCommand(),
		newUnpauseMarkedCommand(c),
		newManualCommand(c),
	)
	return root
}

// exactly checks the number of arguments and says which were expected.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef("usage: xentaped %s", cmd.Use)
		}
		return nil
	}
}
