package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// verbs asks xentape about a tape.
type verbs struct {
	program, tape, keep string
}

// exitIncomplete is xentape's "done, but something could not be looked at":
// its answer stands, and what is missing from it shows in the comparison.
const exitIncomplete = 3

func (v verbs) ask(verb string, flags ...string) ([]byte, error) {
	args := append([]string{verb, "--json"}, flags...)
	cmd := exec.Command(v.program, append(args, v.tape)...)
	var out, warnings bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &warnings
	err := cmd.Run()
	if v.keep != "" {
		name := filepath.Join(v.keep, strings.Join(append([]string{verb}, flags...), "")+".jsonl")
		if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
			return nil, err
		}
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == exitIncomplete {
		fmt.Fprintf(os.Stderr, "%s: %s", verb, warnings.Bytes())
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("xentape %s: %w: %s", strings.Join(args, " "), err, warnings.Bytes())
	}
	return out.Bytes(), nil
}

// answer decodes a verb's JSON lines; a summary line decodes to a zero value
// with nothing in it, which the comparisons skip.
func answer[T any](v verbs, verb string, flags ...string) ([]T, error) {
	out, err := v.ask(verb, flags...)
	if err != nil {
		return nil, err
	}
	got, err := decode[T](bytes.NewReader(out))
	if err != nil {
		return nil, fmt.Errorf("xentape %s: %w", verb, err)
	}
	return got, nil
}

// snapshot is one image on the tape: of memory, or a disk's base.
type snapshot struct {
	Number   int
	Stream   string
	Time     time.Time
	Complete bool
}

// tapeInfo is what the comparison needs of xentape info.
type tapeInfo struct {
	Streams []struct {
		Kind, Name string
	}
	Snapshots []snapshot
	Gaps      []struct {
		Stream   string
		From, To time.Time
		Reason   string
		Detail   string
	}
}

func (v verbs) info() (*tapeInfo, error) {
	out, err := v.ask("info")
	if err != nil {
		return nil, err
	}
	var info tapeInfo
	if err := json.Unmarshal(out, &info); err != nil {
		return nil, fmt.Errorf("xentape info: %w", err)
	}
	return &info, nil
}

// gap is a stretch of time in which the tape says it missed something.
type gap struct {
	kind     string // of the stream: disk, packets, …
	from, to time.Time
	text     string
}

type gaps []gap

func gapsOf(info *tapeInfo) gaps {
	kinds := make(map[string]string)
	for _, s := range info.Streams {
		kinds[s.Name] = s.Kind
	}
	var out gaps
	for _, g := range info.Gaps {
		out = append(out, gap{kinds[g.Stream], g.From, g.To, fmt.Sprintf("gap on %s: %s %s", g.Stream, g.Reason, g.Detail)})
	}
	return out
}

// clockSlack is how far the guest's wall clock may be from dom0's.
const clockSlack = 2 * time.Second

// during finds a gap of a stream kind that overlaps a stretch of time.
func (gs gaps) during(kind string, from, to time.Time) (gap, bool) {
	for _, g := range gs {
		if g.kind == kind && !g.from.After(to.Add(clockSlack)) && !g.to.Before(from.Add(-clockSlack)) {
			return g, true
		}
	}
	return gap{}, false
}
