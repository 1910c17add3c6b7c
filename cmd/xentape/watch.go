package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/xentape/xentape/analyze/story"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

type watchOptions struct {
	storyOptions
	every    time.Duration
	all      bool
	json     bool
	idleStop time.Duration
}

func newWatchCommand(t *terminal) *cobra.Command {
	var o watchOptions
	c := &cobra.Command{
		Use:     "watch TAPE|DIR",
		GroupID: "ask",
		Short:   "Follow what is still being recorded: findings as they become known",
		Long: `watch reads a tape while it grows, or every tape in a folder, and prints what is
new. It is for an analysis machine that sees the tape (over a network file system,
say), never for dom0. It ends when the tape is sealed.

With --json, a line with the id of an earlier one replaces it: the last line of each
id, taken together, is what xentape story --json says of the finished tape. Should
something turn out otherwise as more becomes known, its id is said again with
"withdrawn": true.` + "\n" + exitStatusHelp,
		Example: "  xentape watch /evidence/web01.xtape\n  xentape watch --json /evidence/ring | jq 'select(.severity == \"critical\")'",
		Args:    nargs(1, 1),
		RunE:    func(c *cobra.Command, args []string) error { return runWatch(c.Context(), t, &o, args[0]) },
	}
	f := c.Flags()
	f.DurationVar(&o.every, "every", 2*time.Second, "look for more this often")
	f.DurationVar(&o.idleStop, "stop-when-idle", 0, "end when nothing has come for this long; 0 = wait for the seal")
	f.BoolVar(&o.all, "all", false, "print every event, not only findings, snapshots and gaps")
	f.BoolVar(&o.json, "json", false, "one JSON object a line: every event, and again when more is known of it")
	o.register(c)
	return c
}

// watched is one tape being followed.
type watched struct {
	tape   *replay.Tape
	engine *story.Engine
	said   map[string][]byte // id → the line as last told
	seen   uint64
	done   bool
	// Of a finished tape only this is kept: a ring has many.
	problems []story.Problem
}

func runWatch(ctx context.Context, t *terminal, o *watchOptions, path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	tapes := map[string]*watched{}
	defer func() {
		for _, w := range tapes {
			if w.tape != nil {
				w.tape.Close()
			}
		}
	}()
	last := time.Now()
	for {
		began := time.Now()
		paths := []string{path}
		if st.IsDir() {
			if paths, err = tapesIn(path); err != nil {
				return err
			}
		}
		open := st.IsDir()
		for _, p := range paths {
			news, err := o.look(t, tapes, p, st.IsDir())
			if st.IsDir() && (errors.Is(err, format.ErrNotTape) || errors.Is(err, fs.ErrNotExist)) {
				continue // not begun yet, or pruned meanwhile
			}
			if err != nil {
				return err
			}
			if news {
				last = time.Now()
			}
			open = open || !tapes[p].done
		}
		if err := t.out.Flush(); err != nil {
			return err
		}
		if !open || o.idleStop > 0 && time.Since(last) > o.idleStop {
			return o.problems(t, tapes)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(o.every, patience*time.Since(began))):
		}
	}
}

// patience is how long to wait after a look, by how long it took: connections are
// made again of all packets each time, and watching must leave the machine alone.
const patience = 3

// tapesIn lists the tapes of a folder and those below it: a ring has a folder for
// each guest.
func tapesIn(dir string) ([]string, error) {
	var all []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !d.IsDir() && filepath.Ext(p) == ".xtape" {
			all = append(all, p)
		}
		return err
	})
	return all, err
}

func (o *watchOptions) problems(t *terminal, tapes map[string]*watched) error {
	var err error
	for _, p := range slices.Sorted(maps.Keys(tapes)) {
		problems := tapes[p].problems
		if e := tapes[p].engine; e != nil {
			problems = e.Problems()
		}
		t.sayOnce(append(problemText(p+": ", problems), o.refused...))
		if len(problems)+len(o.refused) > 0 {
			err = incomplete
		}
	}
	return err
}

// look tells what is new on one tape.
func (o *watchOptions) look(t *terminal, tapes map[string]*watched, path string, name bool) (news bool, err error) {
	w := tapes[path]
	if w == nil {
		tape, err := o.openTape(path)
		if err != nil {
			return false, err
		}
		w = &watched{tape: tape, said: map[string][]byte{}}
		if w.engine, err = o.engine(tape); err != nil {
			return false, errors.Join(err, tape.Close())
		}
		tapes[path] = w
	} else if w.done {
		return false, nil
	} else if err := w.tape.Refresh(); err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	settled := w.tape.Reader().Settled()
	sealed := w.tape.Reader().Sealed()
	if settled == w.seen && !sealed {
		return false, nil
	}
	w.seen, w.done = settled, sealed
	s, err := w.engine.Follow(sealed)
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	if err := o.tell(t, w, s, path, name); err != nil || !sealed {
		return true, err
	}
	w.problems = w.engine.Problems()
	err = w.tape.Close()
	w.tape, w.engine, w.said = nil, nil, nil
	return true, err
}

// tell prints the items that are new, and with --json those that changed.
func (o *watchOptions) tell(t *terminal, w *watched, s *story.Story, path string, name bool) error {
	now := make(map[string]bool, len(s.Items))
	for i := range s.Items {
		it := &s.Items[i]
		line, err := json.Marshal(it)
		if err != nil {
			return err
		}
		now[it.ID] = true
		before, known := w.said[it.ID]
		if known && bytes.Equal(before, line) {
			continue
		}
		w.said[it.ID] = line
		switch {
		case o.json:
			if err := t.line(it); err != nil {
				return err
			}
		case known:
		case o.all || it.Kind == story.KindFinding || it.Kind == story.KindSnapshot || it.Kind == story.KindGap:
			if name {
				t.printf("%s:\n", printable(path))
				name = false
			}
			printItem(t, it)
		}
	}
	return o.withdraw(t, w, now)
}

// withdraw says what was told before and does not hold any more.
func (o *watchOptions) withdraw(t *terminal, w *watched, now map[string]bool) error {
	for _, id := range slices.Sorted(maps.Keys(w.said)) {
		if now[id] {
			continue
		}
		var it story.Item
		if err := json.Unmarshal(w.said[id], &it); err != nil {
			return err
		}
		delete(w.said, id)
		switch {
		case o.json:
			if err := t.line(map[string]any{"id": id, "withdrawn": true}); err != nil {
				return err
			}
		case o.all || it.Kind == story.KindFinding:
			t.printf("withdrawn, more being known: %s\n", printable(it.Summary))
		}
	}
	return nil
}
