package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xentape/xentape/analyze/files"
	"github.com/xentape/xentape/format"
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
			complete, whole := true, true
			err = o.follow(c.Context(), t, tape, []*replay.Disk{dev}, moment, files.Options{}, func(f *followed) error {
				complete = f.complete && f.a.Complete()
				tree := f.a.State()
				if view == "crash" {
					tree = f.a.Crash()
				}
				if list {
					return listTree(t, tree, volume, name)
				}
				whole, err = catFile(t, tree, volume, name)
				return err
			})
			if err == nil && !complete {
				t.warnf("something of the disk is unknown or was lost: the content may not be the last")
				return incomplete
			}
			if err == nil && !whole {
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

// catFile writes what a file holds, zeros for what of it was never captured, and reports
// whether all of it was.
func catFile(t *terminal, tree *files.Tree, volume, name string) (whole bool, err error) {
	f, err := tree.Lookup(volume, name)
	if errors.Is(err, files.ErrNoFile) {
		return false, fmt.Errorf("%w at that time: xentape files --versions --path %q tells when there was one", err, name)
	}
	if err != nil {
		return false, err
	}
	r, err := tree.Open(f)
	if err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	missing, first := uint64(0), uint64(0)
	buf := make([]byte, 64<<10)
	for off := uint64(0); off < f.Size; off += uint64(len(buf)) {
		part := buf[:min(uint64(len(buf)), f.Size-off)]
		// What is not known reads as zeros.
		_, err := r.ReadAt(part, int64(off))
		if unknown := new(files.UnknownError); errors.As(err, &unknown) {
			n, at := uncaptured(r, off, uint64(len(part)))
			if missing == 0 {
				first = at
			}
			missing += n
		} else if err != nil && !errors.Is(err, io.EOF) {
			return false, fmt.Errorf("%s: %w", name, err)
		}
		if _, err := t.out.Write(part); err != nil {
			return false, err
		}
	}
	if missing > 0 {
		t.warnf("%s: up to %d of its %d bytes, from byte %d on, were never captured: zeros stand for them", printable(name), missing, f.Size, first)
	}
	return missing == 0, nil
}

// uncaptured counts the bytes of those pages of a part that are not known, and says where
// the first is.
func uncaptured(r io.ReaderAt, off, n uint64) (missing, first uint64) {
	page := make([]byte, format.PageSize)
	for at := off; at < off+n; at += format.PageSize {
		k := min(format.PageSize, off+n-at)
		_, err := r.ReadAt(page[:k], int64(at))
		if unknown := new(files.UnknownError); !errors.As(err, &unknown) {
			continue
		}
		if missing == 0 {
			first = at
		}
		missing += k
	}
	return missing, first
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
