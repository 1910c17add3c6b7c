package main

import (
	"context"
	"crypto/rand"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/format/rebuild"
	"github.com/xentape/xentape/replay/join"
)

type joinOptions struct {
	keyFlags
	bases, recipients []string
	reproducible      bool
	out               string
}

func newJoinCommand(t *terminal) *cobra.Command {
	var o joinOptions
	c := &cobra.Command{
		Use:     "join SEGMENT... -o TAPE",
		GroupID: "move",
		Short:   "Make one tape of the segments of a flight recorder",
		Long: `join makes one tape of segments of one guest that were recorded one after the other,
so that files, story and the others see them as one recording. Each disk begins with
the image that the first segment has of it, or with one that the ring kept of what came
before (base: rolling), named with --base. Segments that do not meet are refused.

The tape is a copy for analysis: what the recorder signed are the segments, and the
events of kind tape-joined name them. The clock of the first segment is that of all.` + "\n" + exitStatusHelp,
		Example: "  xentape join --base xvda.after-20260102T030405.000Z.img 20260102T0310*.xtape -o incident.xtape\n" +
			"  xentape story incident.xtape",
		Args: nargs(1, -1),
		RunE: func(c *cobra.Command, args []string) error { return runJoin(c.Context(), t, &o, args) },
	}
	f := c.Flags()
	f.StringArrayVar(&o.bases, "base", nil, "`image` of a disk that a ring keeps: DISK.after-TIME.img (repeatable)")
	f.StringArrayVar(&o.recipients, "recipient", nil, "encrypt the content to this age `key` (repeatable)")
	f.BoolVar(&o.reproducible, "reproducible", false, "the same input gives the same tape: no random tape id and dedupe secret; not with --recipient")
	f.StringVarP(&o.out, "output", "o", "", "the `tape` to write")
	o.register(c)
	return c
}

func runJoin(ctx context.Context, t *terminal, o *joinOptions, paths []string) error {
	if o.out == "" {
		return usagef("-o TAPE is needed")
	}
	var segments []join.Segment
	for _, path := range paths {
		tape, err := o.openTape(path)
		if err != nil {
			return err
		}
		defer tape.Close()
		segments = append(segments, join.Segment{Name: tape.Name, Reader: tape.Reader()})
	}
	var images []join.Image
	for _, path := range o.bases {
		disk, after, err := ringImage(path)
		if err != nil {
			return err
		}
		im, err := openRawDisk(path)
		if err != nil {
			return err
		}
		defer im.f.Close()
		images = append(images, join.Image{Disk: disk, After: after, Image: im})
	}
	w := format.WriterOptions{Producer: "xentape " + version, Start: segments[0].Reader.Header().Start, Rand: rand.Reader}
	if err := setTapeKeys(&w, o.recipients, o.reproducible); err != nil {
		return err
	}
	var losses []string
	err := writeTape(o.out, w, func(tw *format.Writer) (err error) {
		losses, err = join.Tapes(tw, segments, images, func(segment string, record uint64) error {
			t.progress("%s: record %d", segment, record)
			return ctx.Err()
		})
		return err
	})
	t.clearProgress()
	if err != nil {
		return err
	}
	for _, l := range losses {
		t.warnf("%s", printable(l))
	}
	t.printf("%s: %d tapes joined\n", o.out, len(segments))
	if len(losses) > 0 {
		return incomplete
	}
	return nil
}

// ringImage reads the name of an image that a ring keeps: of which disk it is, and
// which tape ended with it.
func ringImage(path string) (disk, after string, err error) {
	disk, after, ok := rebuild.ParseImageName(filepath.Base(path))
	if !ok {
		err = usagef("--base %s: not named like DISK.after-TIME.img, which says where its tapes go on", path)
	}
	return disk, after, err
}
