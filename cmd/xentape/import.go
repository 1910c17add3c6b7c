package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/xentape/xentape/capture/foreign"
	"github.com/xentape/xentape/format"
)

type importOptions struct {
	memory, bases, writes, packets []string
	recipients                     []string
	paused, reproducible           bool
	out                            string
}

func newImportCommand(t *terminal) *cobra.Command {
	var o importOptions
	c := &cobra.Command{
		Use:     "import -o TAPE",
		GroupID: "move",
		Short:   "Put recordings of other tools on a tape",
		Long: `import makes one tape of memory images (ELF vmcore, xl dump-core, xl save, LiME,
kdump, raw), disk images with block write logs (dm-log-writes), and captures (pcap,
pcapng) of one guest. Their clocks are wall clocks; the tape's time begins at the
earliest time stamp. What is damaged becomes a gap on the tape.` + "\n" + exitStatusHelp,
		Example: `  xentape import --memory t1.elf@2026-01-02T15:04:05Z --memory t2.elf@2026-01-02T15:09:05Z \
      --base xvda=disk.img --writes xvda=writes.log --packets vif0=guest.pcap -o incident.xtape`,
		Args: nargs(0, 0),
		RunE: func(c *cobra.Command, _ []string) error { return runImport(c.Context(), t, &o) },
	}
	f := c.Flags()
	f.StringArrayVar(&o.memory, "memory", nil, "memory image, with the time it was taken: `FILE[@TIME]` (repeatable)")
	f.BoolVar(&o.paused, "paused", false, "the guest stood still while each memory image was taken")
	f.StringArrayVar(&o.bases, "base", nil, "content of a disk at the beginning: `DISK=IMAGE` (repeatable)")
	f.StringArrayVar(&o.writes, "writes", nil, "block write log of a disk: `DISK=LOG` (repeatable)")
	f.StringArrayVar(&o.packets, "packets", nil, "capture of an interface: `VIF=PCAP` (repeatable)")
	f.StringArrayVar(&o.recipients, "recipient", nil, "encrypt the content to this age `key` (repeatable)")
	f.BoolVar(&o.reproducible, "reproducible", false, "the same input gives the same tape: no random tape id and dedupe secret; not with --recipient")
	f.StringVarP(&o.out, "output", "o", "", "the `tape` to write")
	return c
}

// importFiles are the files of one import, open.
type importFiles struct {
	open []io.Closer
	in   foreign.Inputs
	warn []string
}

func (m *importFiles) close() {
	for _, c := range m.open {
		c.Close()
	}
}

func (m *importFiles) file(path string) (*os.File, int64, error) {
	f, size, err := openInput(path)
	if err == nil {
		m.open = append(m.open, f)
	}
	return f, size, err
}

func runImport(ctx context.Context, t *terminal, o *importOptions) error {
	switch {
	case o.out == "":
		return usagef("-o TAPE is needed")
	case len(o.memory)+len(o.bases)+len(o.writes)+len(o.packets) == 0:
		return usagef("nothing to import: give --memory, --base, --writes or --packets")
	}
	m := &importFiles{}
	defer m.close()
	if err := m.gather(o); err != nil {
		return err
	}
	im, err := foreign.NewImport(m.in)
	if err != nil {
		return err
	}
	defer im.Close()
	w := format.WriterOptions{Producer: "xentape " + version, Start: im.Start(), Rand: rand.Reader}
	if err := setTapeKeys(&w, o.recipients, o.reproducible); err != nil {
		return err
	}
	var report foreign.Report
	err = writeTape(o.out, w, func(tw *format.Writer) error {
		t.progress("importing")
		report, err = im.Run(ctx, tw)
		return err
	})
	t.clearProgress()
	if err != nil {
		return err
	}
	for _, s := range append(m.warn, report.Warnings...) {
		t.warnf("%s", printable(s))
	}
	t.printf("%s: %d snapshots, %d disk requests, %d packets\n", o.out, report.Snapshots, report.Requests, report.Packets)
	if len(report.Warnings)+len(m.warn) > 0 {
		return incomplete
	}
	return nil
}

// setTapeKeys says to whom a tape is encrypted, or that it is to be the same each time.
func setTapeKeys(w *format.WriterOptions, recipients []string, reproducible bool) error {
	if reproducible && len(recipients) > 0 {
		return usagef("--reproducible makes keys that anyone can make again: not with --recipient")
	}
	for _, r := range recipients {
		key, err := age.ParseRecipients(strings.NewReader(r))
		if err != nil {
			return usagef("--recipient %q: %w", r, err)
		}
		w.Recipients = append(w.Recipients, key...)
	}
	if reproducible {
		w.Rand, w.TapeID = zeros{}, [16]byte{15: 1}
	}
	return nil
}

// zeros is no randomness at all.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// writeTape writes a tape beside its name and renames it when it is complete: a
// file of that name is always a whole tape.
func writeTape(path string, o format.WriterOptions, fill func(*format.Writer) error) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s: exists: choose another name; evidence is not overwritten", path)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	w, err := format.NewWriter(tmp, o)
	if err != nil {
		return errors.Join(err, tmp.Close())
	}
	err = fill(w)
	if err == nil {
		err = w.Seal()
	}
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// gather opens every file the user named.
func (m *importFiles) gather(o *importOptions) error {
	for _, a := range o.memory {
		path, at := a, int64(0)
		if i := strings.LastIndex(a, "@"); i > 0 {
			w, err := time.Parse(time.RFC3339Nano, a[i+1:])
			if err != nil {
				return usagef("--memory %s: %w: want RFC 3339 after the @", a, err)
			}
			path, at = a[:i], w.UnixNano()
		}
		im, c, err := openMemory(path, o.paused)
		if err != nil {
			return err
		}
		m.open = append(m.open, c)
		m.warn = append(m.warn, im.Warnings...)
		m.in.Memory = append(m.in.Memory, foreign.MemoryInput{Image: im.MemoryImage, Time: at, Paused: im.info.Conditions.Paused})
	}
	if err := m.gatherDisks(o); err != nil {
		return err
	}
	for _, a := range o.packets {
		name, path, err := named("--packets", a)
		if err != nil {
			return err
		}
		f, _, err := m.file(path)
		if err != nil {
			return err
		}
		ps, err := foreign.OpenPackets(f, filepath.Base(path))
		if err != nil {
			return err
		}
		m.in.Packets = append(m.in.Packets, foreign.PacketsInput{Name: name, Packets: ps})
	}
	return nil
}

func (m *importFiles) gatherDisks(o *importOptions) error {
	disks := map[string]*foreign.DiskInput{}
	disk := func(name string) *foreign.DiskInput {
		if disks[name] == nil {
			disks[name] = &foreign.DiskInput{Name: name}
		}
		return disks[name]
	}
	for _, a := range o.bases {
		name, path, err := named("--base", a)
		if err != nil {
			return err
		}
		f, size, err := m.file(path)
		if err != nil {
			return err
		}
		d := disk(name)
		d.Base, d.BaseSize, d.Source = f, size, filepath.Base(path)
	}
	for _, a := range o.writes {
		name, path, err := named("--writes", a)
		if err != nil {
			return err
		}
		f, size, err := m.file(path)
		if err != nil {
			return err
		}
		if disk(name).Writes, err = foreign.OpenLogWrites(f, size, filepath.Base(path)); err != nil {
			return err
		}
	}
	var names []string
	for n := range disks {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		m.in.Disks = append(m.in.Disks, *disks[n])
	}
	return nil
}

// named splits NAME=FILE.
func named(flag, v string) (name, path string, err error) {
	name, path, ok := strings.Cut(v, "=")
	if !ok || name == "" || path == "" {
		return "", "", usagef("%s %q: want NAME=FILE", flag, v)
	}
	return name, path, nil
}
