package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xentape/xentape/analyze/files"
	"github.com/xentape/xentape/replay"
)

type filesOptions struct {
	diskSource
	disk, glob   string
	since, until string
	noHash       bool
	json         bool
	list         bool
	versions     bool
	residue      bool
	selfCheck    bool
	at, view     string
}

func newFilesCommand(t *terminal) *cobra.Command {
	var o filesOptions
	c := &cobra.Command{
		Use:     "files TAPE | files --base IMAGE --writes LOG",
		GroupID: "ask",
		Short:   "Files: what changed on the disks, from block writes alone",
		Long: `files follows the filesystem through its journal and tells each change: what,
where, and between which two moments. A tape's disks are read from their base
image on; a block trace that another tool made (dm-log-writes, QEMU's
blklogwrites) is given with --base and --writes.

With --list it tells instead how the tree stood at a time, with --versions every
state the paths that match --path went through. --view crash shows what a mount
after power loss would have shown at that moment, --view live (the default) what
the guest saw. --residue tells what the directories of NTFS still hold of names that
were removed, before the recording too, names that a file has and its directory
hides, and names without a file.` + "\n" + exitStatusHelp,
		Example: `  xentape files incident.xtape
  xentape files --path '/etc/*' --since +60s incident.xtape
  xentape files --list --at '#2' --json incident.xtape
  xentape files --versions --path /etc/passwd incident.xtape
  xentape files --residue --json incident.xtape
  xentape files --json --base disk.img --writes writes.log`,
		Args: nargs(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if (len(args) == 1) == (o.writes != "") {
				return usagef("usage: xentape files TAPE, or xentape files --base IMAGE --writes LOG")
			}
			return runFiles(c.Context(), t, &o, strings.Join(args, ""))
		},
	}
	f := c.Flags()
	f.StringVar(&o.disk, "disk", "", "only this `disk`")
	f.StringVar(&o.glob, "path", "", "only paths that match `GLOB`; without a slash it is matched to the last part")
	f.StringVar(&o.since, "since", "", "only changes that may be after this `time`")
	f.StringVar(&o.until, "until", "", "only changes that may be before this `time`")
	f.StringVar(&o.base, "base", "", "base `[DISK=]IMAGE` of a block trace")
	f.StringVar(&o.writes, "writes", "", "block write `[DISK=]LOG` (dm-log-writes)")
	f.BoolVar(&o.noHash, "no-hash", false, "no hashes and diffs of content: faster")
	f.BoolVar(&o.list, "list", false, "list the tree as it stood instead of what changed")
	f.BoolVar(&o.versions, "versions", false, "list every version of the paths that match --path, each with its hash")
	f.BoolVar(&o.residue, "residue", false, "list what directories keep of names that are gone, and where directories and files contradict each other (NTFS)")
	f.StringVar(&o.at, "at", "", "stop at this `time`: RFC 3339, +12.5s, #2 or @MARK; with --writes RFC 3339 or @MARK")
	f.StringVar(&o.view, "view", "live", "with --list: `live` or crash")
	f.BoolVar(&o.selfCheck, "self-check", false, "at the end, read every filesystem afresh and compare with what was followed: exit status 4 when they differ")
	f.BoolVar(&o.json, "json", false, "one JSON object a line")
	o.register(c)
	return c
}

func runFiles(ctx context.Context, t *terminal, o *filesOptions, tapePath string) error {
	if _, err := path.Match(o.glob, "/"); err != nil {
		return usagef("--path %q: %w", o.glob, err)
	}
	if o.view != "live" && o.view != "crash" || o.view == "crash" && !o.list {
		return usagef("--view is live or crash, crash goes with --list")
	}
	if o.list && o.versions || o.residue && (o.list || o.versions) || o.versions && o.glob == "" {
		return usagef("--list, --versions and --residue are one at a time; --versions needs --path")
	}
	s := &fileSink{t: t, o: o, complete: true}
	fo := files.Options{Hash: !o.noHash, Emit: s.event}
	switch {
	case o.versions:
		o.fed, fo = s.versions, files.Options{Hash: true}
	case o.list || o.residue:
		fo = files.Options{Emit: func(files.Event) {}}
	}
	if o.writes != "" {
		if err := s.bounds(nil); err != nil {
			return err
		}
		f, err := o.followLog(ctx, t, o.at, fo)
		if err != nil {
			return err
		}
		if err := errors.Join(s.done(f), f.close()); err != nil {
			return err
		}
	} else {
		tape, err := o.openTape(tapePath)
		if err != nil {
			return err
		}
		defer tape.Close()
		if err := s.bounds(tape); err != nil {
			return err
		}
		until, err := momentAt(t, tape, o.at)
		if err != nil {
			return err
		}
		find := disksOf
		if o.list || o.residue {
			find = disksAt
		}
		disks, err := find(tape, o.disk, until)
		if err != nil {
			return err
		}
		if err := o.follow(ctx, t, tape, disks, until, fo, s.done); err != nil {
			return err
		}
	}
	if s.differs {
		return &exitError{code: exitVerification, err: errors.New("following the writes and reading the disk afresh disagree")}
	}
	if !s.complete {
		return incomplete
	}
	return nil
}

// fileSink prints the events a user asked for.
type fileSink struct {
	t            *terminal
	o            *filesOptions
	since, until files.Time
	err          error
	header       bool
	complete     bool // all of every disk could be looked at
	differs      bool // a self-check did not hold
}

// bounds resolves --since and --until. tape is nil for a log, whose times are
// wall-clock times.
func (s *fileSink) bounds(tape *replay.Tape) error {
	parse := func(v string) (files.Time, error) {
		if v == "" {
			return files.Unknown, nil
		}
		if tape == nil {
			return parseWall(v)
		}
		m, err := tape.Moment(v)
		if err != nil {
			return files.Unknown, err
		}
		ns, ok := tape.Clock().Realtime(m.Time)
		if !ok {
			return files.Unknown, fmt.Errorf("time %q: the tape has no clock anchor", v)
		}
		return files.Time(ns), nil
	}
	var err error
	if s.since, err = parse(s.o.since); err == nil {
		s.until, err = parse(s.o.until)
	}
	return err
}

func (s *fileSink) wanted(e *files.Event) bool {
	if s.since.Known() && e.TimeUpper.Known() && e.TimeUpper < s.since {
		return false
	}
	if s.until.Known() && e.TimeLower.Known() && e.TimeLower > s.until {
		return false
	}
	return s.o.glob == "" || globbed(s.o.glob, e.Path) || e.OldPath != "" && globbed(s.o.glob, e.OldPath)
}

func globbed(glob, name string) bool {
	if !strings.Contains(glob, "/") {
		name = path.Base(name)
	}
	ok, _ := path.Match(glob, name)
	return ok
}

func (s *fileSink) event(e files.Event) {
	if s.err != nil || !s.wanted(&e) {
		return
	}
	if s.o.json {
		s.err = s.t.line(&e)
		return
	}
	if !s.header {
		s.header = true
		s.t.printf("%s\n", s.t.style(styleBold, fmt.Sprintf("%-23s %-9s %-8s %s", "TIME (UTC, AT MOST)", "±", "WHAT", "PATH")))
	}
	printFileEvent(s.t, &e)
}

func printFileEvent(t *terminal, e *files.Event) {
	when, within := "unknown", ""
	if e.TimeUpper.Known() {
		when = e.TimeUpper.Go().Format("2006-01-02 15:04:05.000")
	}
	if e.TimeLower.Known() && e.TimeUpper.Known() {
		within = fmt.Sprintf("-%.3fs", float64(e.TimeUpper-e.TimeLower)/1e9)
	}
	what := printable(e.Path)
	if e.OldPath != "" {
		what = printable(e.OldPath) + " → " + what
	}
	var extra []string
	if e.Size != nil && (e.Op == files.OpCreate || e.Op == files.OpWrite || e.Op == files.OpTruncate) && e.Type == "file" {
		extra = append(extra, size(*e.Size))
	}
	if e.Mode.Set && e.Op == files.OpChmod {
		extra = append(extra, e.ModeOld.String()+" → "+e.Mode.String())
	}
	if e.Target != "" {
		extra = append(extra, "→ "+printable(e.Target))
	}
	if len(extra) > 0 {
		what += t.style(styleDim, "  "+strings.Join(extra, ", "))
	}
	t.printf("%-23s %-9s %-8s %s\n", when, within, e.Op, what)
}

// finish prints what was found besides events, and reports whether everything
// could be looked at.
// done tells of a disk that has been followed.
func (s *fileSink) done(f *followed) error {
	var err error
	switch {
	case s.o.list:
		err = s.list(f)
	case s.o.residue:
		err = s.residue(f)
	}
	if err == nil {
		err = f.a.Finish()
	}
	if err != nil {
		return err
	}
	s.complete = s.finish(f) && s.complete
	if s.o.selfCheck {
		for _, d := range f.a.SelfCheck() {
			s.t.warnf("self-check: %s", printable(d))
			s.differs = true
		}
	}
	return s.err
}

func (s *fileSink) finish(f *followed) bool {
	var said []string
	for _, p := range f.a.Problems() {
		where := p.Volume
		if where == "" {
			where = p.Disk
		}
		said = append(said, where+": "+p.Kind+": "+p.Text)
	}
	s.t.sayOnce(said)
	if !s.o.json && !s.o.list && !s.o.versions && !s.o.residue {
		for _, x := range f.a.Findings() {
			s.t.printf("%s %s %s %s: %s\n", s.t.style(severityStyle[x.Severity], "!"), x.Severity, x.Kind, printable(x.Path), printable(strings.Join(x.Reasons, "; ")))
		}
	}
	return f.complete && f.a.Complete()
}
