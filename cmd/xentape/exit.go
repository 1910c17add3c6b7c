package main

import (
	"errors"
	"fmt"
)

// Exit codes. They are part of the interface: scripts test them.
const (
	exitDone         = 0 // done and complete
	exitFailed       = 1
	exitUsage        = 2
	exitIncomplete   = 3 // done, but something could not be looked at
	exitVerification = 4 // a tape, a proof or a corpus does not verify
)

const exitStatusHelp = `
Exit status: 0 done and complete; 1 failed; 2 wrong usage; 3 done, but something
could not be looked at; 4 verification failed.`

// exitError is an error with the exit code it stands for. quiet says that the
// verb has already told the user.
type exitError struct {
	code  int
	err   error
	quiet bool
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usagef(format string, a ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, a...)}
}

// incomplete is returned by verbs that did what they could and have said what
// they could not.
var incomplete = &exitError{code: exitIncomplete, err: errors.New("something could not be looked at"), quiet: true}

func exitCode(err error) int {
	var e *exitError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &e):
		return e.code
	}
	return exitFailed
}
