package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/xentape/xentape/analyze/files"
	"github.com/xentape/xentape/format/rebuild"
	"github.com/xentape/xentape/replay"
)

func newExportDisk(t *terminal) *cobra.Command {
	var keys keyFlags
	var at, out, view, base string
	c := &cobra.Command{
		Use: "disk TAPE... DISK", Short: "A disk as it stood at a time, as a raw image", Args: nargs(2, -1),
		Long: `The image is the device byte for byte: what a machine would find that was switched
off at that moment. Mounting it replays the journal. With --view live, metadata
that the journal has committed is in its place already: tools that replay no
journal then read what the guest saw.

The segments of a flight recorder go on where the one before ended: name them in
their order, and with --base the image that the ring keeps of what came before the
first. The time is one of the last tape's.`,
		Example: "  xentape export disk incident.xtape xvda --at '#2' -o disk.img\n" +
			"  xentape export disk --base xvda.after-20260102T030405.000Z.img 20260102T031*.xtape xvda -o disk.img",
		RunE: func(c *cobra.Command, args []string) error {
			if view != "live" && view != "crash" {
				return usagef("--view %q: want live or crash", view)
			}
			name, last := args[len(args)-1], args[len(args)-2]
			earlier := args[:len(args)-2]
			if view == "live" && (len(earlier) > 0 || base != "") {
				return usagef("--view live is of one tape that has an image of the disk")
			}
			return exportTape(t, &keys, last, at, out, func(f *os.File, tape *replay.Tape, until replay.Moment) ([]string, error) {
				disks, cut, done, err := openDisks(&keys, earlier, name)
				if err != nil {
					return nil, err
				}
				defer done()
				parts, err := tape.DisksNamed(name, until)
				if err != nil {
					return nil, err
				}
				before, err := putBase(f, base)
				if err != nil {
					return nil, err
				}
				lost, err := rebuild.Chain(f, before, append(disks, parts...), until.Time)
				if err == nil && view == "live" {
					err = settle(c.Context(), t, f, tape, parts[len(parts)-1], until)
				}
				return append(cut, lost...), err
			})
		},
	}
	c.Flags().StringVar(&at, "at", "", "the `time`; the end of the last tape when not given")
	c.Flags().StringVar(&base, "base", "", "`image` of the disk that a ring keeps: DISK.after-TIME.img")
	c.Flags().StringVar(&view, "view", "crash", "`crash`: as the device held it; live: with committed metadata in its place")
	c.Flags().StringVarP(&out, "output", "o", "", "the `file` to write")
	keys.register(c)
	return c
}

// openDisks opens a disk on each of some tapes, and says which of them were cut off. An
// error leaves none open.
func openDisks(keys *keyFlags, paths []string, name string) (disks []*replay.Disk, cut []string, done func(), err error) {
	var tapes []*replay.Tape
	done = func() {
		for _, tape := range tapes {
			tape.Close()
		}
	}
	for _, path := range paths {
		tape, err := keys.openTape(path)
		if err != nil {
			done()
			return nil, nil, nil, err
		}
		tapes = append(tapes, tape)
		parts, err := tape.DisksNamed(name, replay.End)
		if err != nil {
			done()
			return nil, nil, nil, err
		}
		if !tape.Reader().Sealed() {
			cut = append(cut, tape.Name+": "+replay.NotSealed)
		}
		disks = append(disks, parts...)
	}
	return disks, cut, done, nil
}

// putBase copies the image that a ring keeps, if one is given. Its name says which
// tape ended with it.
func putBase(f *os.File, path string) (before string, err error) {
	if path == "" {
		return "", nil
	}
	_, before, err = ringImage(path)
	if err != nil {
		return "", err
	}
	from, err := openRawDisk(path)
	if err != nil {
		return "", err
	}
	defer from.f.Close()
	for _, e := range from.Extents() {
		missing, err := rebuild.CopyPages(f, 0, from, e)
		if err == nil && missing > 0 {
			err = fmt.Errorf("%s: %d blocks cannot be read", path, missing)
		}
		if err != nil {
			return "", err
		}
	}
	return before, f.Truncate(from.size)
}

// settle writes what the disk's journals have committed to its place.
func settle(ctx context.Context, t *terminal, f *os.File, tape *replay.Tape, d *replay.Disk, until replay.Moment) error {
	var s diskSource
	followed, err := s.followDisk(ctx, t, tape, d, until, files.Options{})
	if err != nil {
		return err
	}
	followed.a.Committed(func(off uint64, data []byte) {
		if err == nil {
			_, err = f.WriteAt(data, int64(off))
		}
	})
	return errors.Join(err, followed.close())
}
