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
say), never for dom0. It ends when the tape is sealed; stopped before, it tells what
is known and that there was more to come.

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
	o      storyOptions // with what the engine takes
	tape   *replay.Tape
	engine *story.Engine
	said   map[string][]byte // id → the line as last told
	seen   uint64
	done   bool
	// Of a tape that is done with only this is kept: a ring has many.
	problems []story.Problem
}

func runWatch(ctx context.Context, t *terminal, o *watchOptions, path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	w := &watch{o: o, t: t, path: path, folder: st.IsDir(), tapes: map[string]*watched{}}
	defer w.close()
	for last := time.Now(); ; {
		began := time.Now()
		news, open, err := w.look()
		if err != nil {
			return err
		}
		if news {
			last = time.Now()
		}
		if !open {
			return w.problems()
		}
		if o.idleStop > 0 && time.Since(last) > o.idleStop {
			return w.stop()
		}
		select {
		case <-ctx.Done():
			return w.stop()
		case <-time.After(max(o.every, patience*time.Since(began))):
		}
	}
}

// watch is what runs until all tapes are sealed, or it is stopped.
type watch struct {
	o      *watchOptions
	t      *terminal
	path   string
	folder bool
	tapes  map[string]*watched
	unread map[string]error // files of the folder that are no tapes, or not yet
}

func (w *watch) close() {
	for _, k := range w.tapes {
		if k.tape != nil {
			k.o.Close()
			k.tape.Close()
		}
	}
}

// look looks at every tape once. open: more may come.
func (w *watch) look() (news, open bool, err error) {
	paths := []string{w.path}
	if w.folder {
		if paths, err = tapesIn(w.path); err != nil {
			return false, false, err
		}
	}
	w.unread = map[string]error{}
	for _, p := range paths {
		n, err := w.lookAt(p, false)
		switch {
		case w.folder && errors.Is(err, fs.ErrNotExist):
			continue // pruned meanwhile
		case w.folder && errors.Is(err, format.ErrNotTape):
			w.unread[p] = err // perhaps not begun yet
			continue
		case err != nil:
			return false, false, err
		}
		news = news || n
		open = open || !w.tapes[p].done
	}
	return news, open || w.folder, w.t.out.Flush()
}

// stop ends before the tapes did: what was left open until more is known is told as
// it stands, as story tells it of a tape that is not sealed.
func (w *watch) stop() error {
	for _, p := range slices.Sorted(maps.Keys(w.tapes)) {
		if w.tapes[p].done {
			continue
		}
		if _, err := w.lookAt(p, true); err != nil {
			return err
		}
	}
	if w.folder && len(w.tapes)+len(w.unread) == 0 {
		return fmt.Errorf("%s: no tape came", w.path)
	}
	return errors.Join(w.t.out.Flush(), w.problems())
}

// patience is how long to wait after a look, by how long it took: what is new is
// joined with all that was, and watching must leave the machine alone.
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

// problems says what could not be looked at.
func (w *watch) problems() error {
	var all []string
	for _, p := range slices.Sorted(maps.Keys(w.tapes)) {
		all = append(all, problemText(p+": ", w.tapes[p].problems)...)
	}
	for _, p := range slices.Sorted(maps.Keys(w.unread)) {
		all = append(all, "not looked at: "+w.unread[p].Error())
	}
	all = append(all, w.o.refused...)
	w.t.sayOnce(all)
	if len(all) > 0 {
		return incomplete
	}
	return nil
}

// lookAt tells what is new on one tape. final: whatever comes to it is not waited for.
func (w *watch) lookAt(path string, final bool) (news bool, err error) {
	k := w.tapes[path]
	switch {
	case k == nil:
		if k, err = w.begin(path); err != nil {
			return false, err
		}
	case k.done:
		return false, nil
	default:
		if err := k.tape.Refresh(); err != nil {
			return false, fmt.Errorf("%s: %w", path, err)
		}
	}
	settled := k.tape.Reader().Settled()
	k.done = final || k.tape.Reader().Sealed()
	if settled == k.seen && !k.done {
		return false, nil
	}
	k.seen = settled
	s, err := k.engine.Follow(k.done)
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	if err := w.tell(k, s, path); err != nil || !k.done {
		return true, err
	}
	k.problems = k.engine.Problems()
	err = errors.Join(k.o.Close(), k.tape.Close())
	k.tape, k.engine, k.said = nil, nil, nil
	return true, err
}

func (w *watch) begin(path string) (*watched, error) {
	tape, err := w.o.openTape(path)
	if err != nil {
		return nil, err
	}
	k := &watched{o: w.o.storyOptions, tape: tape, said: map[string][]byte{}}
	if k.engine, err = k.o.engine(tape); err != nil {
		return nil, errors.Join(err, tape.Close())
	}
	w.o.refused = k.o.refused
	w.tapes[path] = k
	return k, nil
}

// tell prints the items that are new, and with --json those that changed.
func (w *watch) tell(k *watched, s *story.Story, path string) error {
	name := w.folder
	now := make(map[string]bool, len(s.Items))
	for i := range s.Items {
		it := &s.Items[i]
		line, err := json.Marshal(it)
		if err != nil {
			return err
		}
		now[it.ID] = true
		before, known := k.said[it.ID]
		if known && bytes.Equal(before, line) {
			continue
		}
		k.said[it.ID] = line
		switch {
		case w.o.json:
			if err := w.t.line(it); err != nil {
				return err
			}
		case known:
		case w.o.all || it.Kind == story.KindFinding || it.Kind == story.KindSnapshot || it.Kind == story.KindGap:
			if name {
				w.t.printf("%s:\n", printable(path))
				name = false
			}
			printItem(w.t, it)
		}
	}
	return w.withdraw(k, now)
}

// withdraw says what was told before and does not hold any more.
func (w *watch) withdraw(k *watched, now map[string]bool) error {
	for _, id := range slices.Sorted(maps.Keys(k.said)) {
		if now[id] {
			continue
		}
		var it story.Item
		if err := json.Unmarshal(k.said[id], &it); err != nil {
			return err
		}
		delete(k.said, id)
		switch {
		case w.o.json:
			if err := w.t.line(map[string]any{"id": id, "withdrawn": true}); err != nil {
				return err
			}
		case w.o.all || it.Kind == story.KindFinding:
			w.t.printf("withdrawn, more being known: %s\n", printable(it.Summary))
		}
	}
	return nil
}
