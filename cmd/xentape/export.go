package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/xentape/xentape/analyze/process"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
	"github.com/xentape/xentape/replay/export"
)

func newExportCommand(t *terminal) *cobra.Command {
	c := &cobra.Command{
		Use:     "export",
		GroupID: "move",
		Short:   "Write memory, a disk or packets in the formats other tools read",
		Long: `What a format cannot carry is said on stderr; what the tape does not hold ends in
exit status 3.` + "\n" + exitStatusHelp,
		Example: `  xentape export memory incident.xtape --at '#2' --format elf -o guest.elf
  xentape export disk incident.xtape xvda --at +60s -o disk.img
  xentape export packets incident.xtape -o incident.pcapng`,
		Args: nargs(1, -1),
		RunE: func(_ *cobra.Command, args []string) error {
			return usagef("export has no view %q: want memory, disk, writes or packets", args[0])
		},
	}
	c.AddCommand(newExportMemory(t), newExportDisk(t), newExportWrites(t), newExportPackets(t))
	return c
}

// writeFile creates path, lets write fill it, and reports what was lost. A file
// that could not be written whole is removed: half an image looks like an image.
func writeFile(t *terminal, path string, write func(f *os.File) ([]string, error)) error {
	if path == "" {
		return usagef("-o FILE is needed: an image is not written to a terminal")
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		if errors.Is(err, os.ErrExist) {
			return fmt.Errorf("%w: choose another name; evidence is not overwritten", err)
		}
		return err
	}
	losses, err := write(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	for _, l := range losses {
		t.warnf("%s: %s", path, l)
	}
	return nil
}

// exportTape writes what a tape holds up to a time into a new file. What could not
// be had of it is said, and ends in exit status 3.
func exportTape(t *terminal, keys *keyFlags, path, at, out string, write func(*os.File, *replay.Tape, replay.Moment) (lost []string, err error)) error {
	tape, err := keys.openTape(path)
	if err != nil {
		return err
	}
	defer tape.Close()
	until, err := momentAt(t, tape, at)
	if err != nil {
		return err
	}
	complete := !cutOff(t, tape, until)
	err = writeFile(t, out, func(f *os.File) ([]string, error) {
		lost, err := write(f, tape, until)
		complete = complete && len(lost) == 0
		return lost, err
	})
	if err == nil && !complete {
		return incomplete
	}
	return err
}

func newExportMemory(t *terminal) *cobra.Command {
	var keys keyFlags
	var at, as, out string
	c := &cobra.Command{
		Use: "memory TAPE", Short: "A memory snapshot, for Volatility, crash, drgn", Args: nargs(1, 1),
		Example: "  xentape export memory incident.xtape --at '#1' --format xen-core -o guest.core",
		RunE: func(_ *cobra.Command, args []string) error {
			m, done, err := memoryOf(&keys, args[0], at)
			if err != nil {
				return err
			}
			defer done()
			counted := &countedMemory{Memory: m}
			lacks := lacking(m)
			err = writeFile(t, out, func(f *os.File) ([]string, error) {
				losses, err := exportMemory(f, counted, as)
				return append(losses, lacks...), err
			})
			if err == nil && (counted.unread > 0 || len(lacks) > 0) {
				return incomplete
			}
			return err
		},
	}
	c.Flags().StringVar(&at, "at", "", "the `time` of the snapshot; the last when not given")
	c.Flags().StringVar(&as, "format", "elf", "xen-core, xl-save, elf, lime or raw")
	c.Flags().StringVarP(&out, "output", "o", "", "the `file` to write")
	keys.register(c)
	return c
}

func exportMemory(f *os.File, m replay.Memory, as string) (losses []string, err error) {
	switch as {
	case "xen-core":
		return export.XenCore(f, m)
	case "xl-save":
		return export.XLSave(f, m)
	case "elf":
		return export.ELF(f, m, kernelNote(m))
	case "lime":
		return export.LiME(f, m)
	case "raw":
		return export.Raw(f, m)
	}
	return nil, usagef("--format %q: want xen-core, xl-save, elf, lime or raw", as)
}

// countedMemory counts the pages that should be there and cannot be read.
type countedMemory struct {
	replay.Memory
	unread uint64
}

func (m *countedMemory) ReadPage(n uint64, dst []byte) (format.PageState, error) {
	st, err := m.Memory.ReadPage(n, dst)
	if err != nil {
		m.unread++
	}
	return st, err
}

// lacking says what the guest had in memory and its snapshot does not hold.
func lacking(m replay.Memory) (what []string) {
	s, ok := m.(interface {
		ExtentsOf(format.PageState) []format.Extent
	})
	if !ok {
		return nil // a file of another tool says nothing of this
	}
	for st, why := range map[format.PageState]string{
		format.PageMissing: "are not on the tape", format.PageUnreadable: "could not be read when it was recorded",
	} {
		var n uint64
		for _, e := range s.ExtentsOf(st) {
			n += e.Count
		}
		if n > 0 {
			what = append(what, fmt.Sprintf("%d pages %s: they are not in the file, or zeros", n, why))
		}
	}
	slices.Sort(what)
	return what
}

// kernelNote is the note by which drgn and crash know a Linux core for one, taken
// from the guest's memory when the image did not come with it.
func kernelNote(m replay.Memory) []export.Note {
	const name = "VMCOREINFO"
	if _, ok := m.Attachment("elf/note/" + name); ok {
		return nil
	}
	text, ok := process.KernelNote(m)
	if !ok {
		return nil
	}
	return []export.Note{{Name: name, Desc: text}}
}

// memoryOf opens one snapshot of a tape, or an image another tool made.
func memoryOf(keys *keyFlags, path, at string) (replay.Memory, func(), error) {
	head, _, err := peek(path)
	if err != nil {
		return nil, nil, err
	}
	if !isTape(head) {
		m, c, err := openMemory(path, false)
		if err != nil {
			return nil, nil, err
		}
		return m, func() { c.Close() }, nil
	}
	tape, err := keys.openTape(path)
	if err != nil {
		return nil, nil, err
	}
	moment, err := tape.Moment(at)
	if err == nil {
		var m replay.Memory
		if m, err = tape.MemoryAt(moment); err == nil {
			return m, func() { tape.Close() }, nil
		}
	}
	return nil, nil, errors.Join(err, tape.Close())
}

func newExportPackets(t *terminal) *cobra.Command {
	var keys keyFlags
	var out string
	var vif string
	c := &cobra.Command{
		Use: "packets TAPE", Short: "Packets as pcapng, checksums completed, direction kept", Args: nargs(1, 1),
		Example: "  xentape export packets incident.xtape --vif 0 -o vif0.pcapng",
		RunE: func(c *cobra.Command, args []string) error {
			return exportTape(t, &keys, args[0], "", out, func(f *os.File, tape *replay.Tape, _ replay.Moment) ([]string, error) {
				return exportPackets(c.Context(), f, tape, vif, nil)
			})
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "the `file` to write")
	c.Flags().StringVar(&vif, "vif", "", "only this interface: its number or its name")
	keys.register(c)
	return c
}

// exportPackets writes the packets of the tape. comment, if not nil, gives a
// packet's comments.
func exportPackets(ctx context.Context, f *os.File, tape *replay.Tape, vif string, comment func(*format.Packet) []string) (lost []string, err error) {
	w, err := export.NewPcapngWriter(f, "xentape "+version)
	if err != nil {
		return nil, err
	}
	iface := map[format.StreamID]int{}
	var ids []format.StreamID
	for _, s := range tape.Streams(format.StreamNetwork) {
		if vif != "" && s.Name != vif && s.Name != "vif"+vif {
			continue
		}
		lt := uint64(1)
		if v := format.Attribute(s.Attrs, "link-type"); v != "" {
			if lt, err = strconv.ParseUint(v, 10, 16); err != nil {
				return nil, fmt.Errorf("stream %s: attribute link-type: %w", s.Name, err)
			}
		}
		n, err := w.AddInterface(export.Interface{Name: s.Name, LinkType: uint16(lt), Comment: format.Attribute(s.Attrs, "mac")})
		if err != nil {
			return nil, err
		}
		iface[s.ID] = n
		ids = append(ids, s.ID)
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("%s: no such interface on the tape", tape.Name)
	}
	n, damaged := 0, 0
	for r, err := range tape.Reader().Records(format.Query{Streams: ids}) {
		if n++; n%65536 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			damaged++
			continue
		}
		switch r := r.(type) {
		case *format.Packet:
			rt, _ := tape.Clock().Realtime(r.Time)
			var cs []string
			if comment != nil {
				cs = comment(r)
			}
			if err := w.Packet(iface[r.Stream], rt, r, cs...); err != nil {
				return nil, err
			}
		case *format.Gap:
			if r.Count != format.Unknown {
				w.Drop(iface[r.Stream], r.Count)
			}
		}
	}
	if damaged > 0 {
		lost = append(lost, fmt.Sprintf("the tape is damaged in %d places: packets may be missing", damaged))
	}
	return lost, w.Close()
}
