package main

import (
	"iter"
	"math"
	"os"

	"github.com/spf13/cobra"

	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
	"github.com/xentape/xentape/replay/export"
)

func newExportWrites(t *terminal) *cobra.Command {
	var keys keyFlags
	var out string
	c := &cobra.Command{
		Use: "writes TAPE DISK", Short: "A disk's writes as a dm-log-writes log", Args: nargs(2, 2),
		Long: `The log holds, in order, what took effect since the base image was whole: writes,
flushes, discards and marks, with the wall clock of each. With the image of
"export disk --at" the base's time it replays to the disk at any moment. Reads, failed
requests and the time between a request and its completion are not in such a log.`,
		Example: "  xentape export writes incident.xtape xvda -o xvda.log",
		RunE: func(_ *cobra.Command, args []string) error {
			tape, err := keys.openTape(args[0])
			if err != nil {
				return err
			}
			defer tape.Close()
			d, err := tape.Disk(args[1])
			if err != nil {
				return err
			}
			lossy := false
			err = writeFile(t, out, func(f *os.File) ([]string, error) {
				losses, err := export.LogWrites(f, writesAndMarks(d), tape.Clock().Realtime)
				lossy = len(losses) > 0
				return losses, err
			})
			if err == nil && lossy {
				return incomplete
			}
			return err
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "the `file` to write")
	keys.register(c)
	return c
}

// writesAndMarks yields what changed a disk, and its marks, in the order in which it
// took effect.
func writesAndMarks(d *replay.Disk) iter.Seq2[format.Record, error] {
	return func(yield func(format.Record, error) bool) {
		going := true
		marks := func(rs iter.Seq2[format.Record, error]) iter.Seq2[format.Record, error] {
			return func(next func(format.Record, error) bool) {
				for r, err := range rs {
					if m, ok := r.(*format.Mark); ok {
						if going = yield(m, nil); !going {
							return
						}
						continue
					}
					if !next(r, err) {
						return
					}
				}
			}
		}
		for r, err := range replay.Applied(marks(d.Records(math.MaxInt64))) {
			if err != nil {
				if !yield(nil, err) {
					return
				}
				continue
			}
			if !going || !yield(r, nil) {
				return
			}
		}
	}
}
