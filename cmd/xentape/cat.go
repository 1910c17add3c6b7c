package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xentape/xentape/analyze/files"
	"github.com/xentape/xentape/replay"
)

// parseWall reads an RFC 3339 time.
func parseWall(v string) (files.Time, error) {
	w, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		return files.Unknown, fmt.Errorf("time %q: want RFC 3339 (2026-01-02T15:04:05Z): a block trace has no snapshots and no start of its own", v)
	}
	return files.Time(w.UnixNano()), nil
}

func newCatCommand(t *terminal) *cobra.Command {
	var o diskSource
	var at, view string
	var list bool
	c := &cobra.Command{
		Use:     "cat TAPE DISK:/path",
		GroupID: "ask",
		Short:   "A file as it was at a time",
		Long: `cat writes the content a file had for the guest at that time: committed changes
are in place, whether or not they had reached their final blocks. DISK is the name
of a disk, or of a volume on it (xvda1, vg0/root).` + "\n" + exitStatusHelp,
		Example: "  xentape cat incident.xtape xvda:/etc/passwd --at '#1'\n  xentape cat --list incident.xtape xvda:/etc --at +60s",
		Args:    nargs(2, 2),
		RunE: func(c *cobra.Command, args []string) error {
			disk, name, ok := strings.Cut(args[1], ":")
			if !ok || !strings.HasPrefix(name, "/") {
				return usagef("%q: want DISK:/path, such as xvda:/etc/passwd", args[1])
			}
			tape, err := o.openTape(args[0])
			if err != nil {
				return err
			}
			defer tape.Close()
			moment, err := momentAt(t, tape, at)
			if err != nil {
				return err
			}
			volume := ""
			dev, err := tape.DiskAt(disk, moment)
			if err != nil {
				volume = disk
				if dev, err = tape.DiskAt(diskOfVolume(disk), moment); err != nil {
					return err
				}
			}
			if view != "live" && view != "crash" {
				return usagef("--view %q: want live or crash", view)
			}
			complete := true
			err = o.follow(c.Context(), t, tape, []*replay.Disk{dev}, moment, files.Options{}, func(f *followed) error {
				complete = f.complete && f.a.Complete()
				tree := f.a.State()
				if view == "crash" {
					tree = f.a.Crash()
				}
				if list {
					return listTree(t, tree, volume, name)
				}
				return catFile(t, tree, volume, name)
			})
			if err == nil && !complete {
				t.warnf("something of the disk is unknown or was lost: the content may not be the last")
				return incomplete
			}
			return err
		},
	}
	c.Flags().StringVar(&at, "at", "", "the `time`; the end of the tape when not given")
	c.Flags().StringVar(&view, "view", "live", "`live`: as the guest saw it; crash: as a mount after power loss would show it")
	c.Flags().BoolVar(&list, "list", false, "list what is below the path instead")
	o.register(c)
	return c
}

// diskOfVolume guesses the disk of a partition by its name: xvda1 lies on xvda.
// Volumes that span disks are found by not naming one.
func diskOfVolume(v string) string {
	if strings.Contains(v, "/") {
		return ""
	}
	return strings.TrimRight(v, "0123456789")
}

func catFile(t *terminal, tree *files.Tree, volume, name string) error {
	f, err := tree.Lookup(volume, name)
	if err != nil {
		return err
	}
	r, err := tree.Open(f)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if _, err := io.Copy(t.out, io.NewSectionReader(r, 0, int64(f.Size))); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func listTree(t *terminal, tree *files.Tree, volume, below string) error {
	below = strings.TrimSuffix(below, "/")
	return tree.Walk(volume, func(f files.File) error {
		if f.Path != below && !strings.HasPrefix(f.Path, below+"/") {
			return nil
		}
		mtime := "-"
		if files.Time(f.MTime).Known() {
			mtime = files.Time(f.MTime).Go().Format("2006-01-02 15:04:05.000000000")
		}
		t.printf("%10d %06o %5d %5d %12d %s %s\n", f.ID.Num, f.Mode, f.UID, f.GID, f.Size, mtime, printable(f.Path))
		return nil
	})
}
