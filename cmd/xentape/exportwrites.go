package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/xentape/xentape/format/rebuild"
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
			return exportTape(t, &keys, args[0], "", out, func(f *os.File, tape *replay.Tape, until replay.Moment) ([]string, error) {
				d, err := tape.DiskAt(args[1], until)
				if err != nil {
					return nil, err
				}
				return export.LogWrites(f, d.Def.Size, rebuild.Effects(d.Records(until.Time)), tape.Clock().Realtime)
			})
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "the `file` to write")
	keys.register(c)
	return c
}
