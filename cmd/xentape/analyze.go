package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/xentape/xentape/analyze/files"
	"github.com/xentape/xentape/analyze/network"
	"github.com/xentape/xentape/analyze/report/custody"
	"github.com/xentape/xentape/analyze/report/page"
	"github.com/xentape/xentape/analyze/report/perfetto"
	"github.com/xentape/xentape/analyze/report/table"
	"github.com/xentape/xentape/analyze/report/timeline"
	"github.com/xentape/xentape/analyze/story"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

type analyzeOptions struct {
	storyOptions
	out     string
	only    []string
	formats []string
}

// The analyses and the formats that --only and --format choose from.
var (
	analyses      = []string{"process", "files", "network", "story"}
	outputFormats = []string{"jsonl", "parquet", "sqlite", "html", "perfetto", "zeek", "bodyfile", "pcapng"}
)

func newAnalyzeCommand(t *terminal) *cobra.Command {
	var o analyzeOptions
	c := &cobra.Command{
		Use:     "analyze TAPE... -o DIR",
		GroupID: "ask",
		Short:   "Everything at once, as files that other tools load",
		Long: `analyze writes a folder for each tape: JSON lines for Timesketch and Elastic,
Parquet and SQLite, Zeek logs, a bodyfile, pcapng with process names in the packet
comments, a Perfetto trace, a page to look at, and a manifest with the hash of each
file. The same tape and version give the same bytes.` + "\n" + exitStatusHelp,
		Example: "  xentape analyze incident.xtape -o findings\n  xentape analyze *.xtape -o findings --only story --format html,jsonl",
		Args:    nargs(1, -1),
		RunE:    func(c *cobra.Command, args []string) error { return runAnalyze(c.Context(), t, &o, args) },
	}
	f := c.Flags()
	f.StringVarP(&o.out, "output", "o", "", "the `folder` to write to")
	f.StringSliceVar(&o.only, "only", analyses, "which analyses to write")
	f.StringSliceVar(&o.formats, "format", outputFormats, "which formats to write")
	o.register(c)
	return c
}

func runAnalyze(ctx context.Context, t *terminal, o *analyzeOptions, tapes []string) error {
	if o.out == "" {
		return usagef("-o DIR is needed")
	}
	for _, v := range o.only {
		if !slices.Contains(analyses, v) {
			return usagef("--only %s: want some of %s", v, strings.Join(analyses, ","))
		}
	}
	for _, v := range o.formats {
		if !slices.Contains(outputFormats, v) {
			return usagef("--format %s: want some of %s", v, strings.Join(outputFormats, ","))
		}
	}
	complete := true
	for _, path := range tapes {
		dir := o.out
		if len(tapes) > 1 {
			dir = filepath.Join(o.out, strings.TrimSuffix(filepath.Base(path), ".xtape"))
		}
		ok, err := analyzeTape(ctx, t, o, path, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		complete = complete && ok
	}
	if !complete {
		return incomplete
	}
	return nil
}

// analysis is one tape being written out.
type analysis struct {
	t        *terminal
	o        *analyzeOptions
	dir      string
	tape     *replay.Tape
	engine   *story.Engine
	story    *story.Story
	manifest custody.Manifest
}

func (a *analysis) wants(what, as string) bool {
	return slices.Contains(a.o.only, what) && slices.Contains(a.o.formats, as)
}

func analyzeTape(ctx context.Context, t *terminal, o *analyzeOptions, path, dir string) (complete bool, err error) {
	tape, err := o.openTape(path)
	if err != nil {
		return false, err
	}
	defer tape.Close()
	defer o.Close()
	a := &analysis{t: t, o: o, dir: dir, tape: tape}
	if a.engine, err = o.engine(tape); err != nil {
		return false, err
	}
	if a.story, err = a.engine.Run(func(seq uint64) { t.progress("%s: record %d", path, seq) }); err != nil {
		return false, err
	}
	t.clearProgress()
	if err := a.describe(path); err != nil {
		return false, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	for _, step := range []func(context.Context) error{a.lines, a.tables, a.pages, a.logs, a.packets, a.bodyfiles, a.programs} {
		if err := step(ctx); err != nil {
			return false, err
		}
	}
	t.sayOnce(append(problemText(path+": ", a.engine.Problems()), o.refused...))
	t.printf("%s: %d files in %s\n", path, len(a.manifest.Outputs)+2, dir)
	return a.manifest.Complete, a.finish()
}

// describe fills in what the manifest says of the tape.
func (a *analysis) describe(path string) error {
	f, size, err := replay.OpenFile(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, bufio.NewReaderSize(f, 1<<20)); err != nil {
		return err
	}
	rep, err := format.Verify(f, size, format.VerifyOptions{})
	if err != nil {
		return err
	}
	head := a.tape.Reader().Header()
	a.manifest = custody.Manifest{Program: "xentape", Version: version, Problems: []string{}, Outputs: []custody.Output{},
		Tape: custody.Tape{Name: filepath.Base(path), ID: uuid.UUID(head.TapeID).String(), Size: size, SHA256: hex.EncodeToString(h.Sum(nil)),
			Root: rep.Root, Signer: hex.EncodeToString(head.Signer), Sealed: rep.Sealed}}
	for _, p := range a.engine.Problems() {
		a.manifest.Problems = append(a.manifest.Problems, p.Stream+": "+p.Reason)
	}
	for _, r := range a.o.refused {
		a.manifest.Problems = append(a.manifest.Problems, "rules: "+r)
	}
	if !rep.OK {
		a.manifest.Problems = append(a.manifest.Problems, "the tape does not verify")
	}
	a.manifest.Complete = len(a.manifest.Problems) == 0
	return nil
}

// file creates one output, lets fill write it, and enters it in the manifest.
func (a *analysis) file(name string, fill func(io.Writer) error) error {
	path := filepath.Join(a.dir, name)
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(f, 1<<20)
	if err := errors.Join(fill(b), b.Flush(), f.Close()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return a.enter(name)
}

func (a *analysis) enter(name string) error {
	f, size, err := replay.OpenFile(filepath.Join(a.dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	a.manifest.Outputs = append(a.manifest.Outputs, custody.Output{Name: name, Size: size, SHA256: hex.EncodeToString(h.Sum(nil))})
	return nil
}

// lines writes the JSON lines: each verb's own, and the timeline for Timesketch
// and Elastic.
func (a *analysis) lines(ctx context.Context) error {
	verbsOf := map[string]string{"process": "ps", "files": "files", "network": "conns", "story": "story"}
	for _, what := range analyses {
		if !a.wants(what, "jsonl") {
			continue
		}
		verb := verbsOf[what]
		if !a.has(what) {
			continue
		}
		if err := a.file(verb+".jsonl", func(w io.Writer) error { return a.verb(ctx, verb, w) }); err != nil {
			return err
		}
	}
	if !a.wants("story", "jsonl") {
		return nil
	}
	var undated bytes.Buffer
	if err := a.file("timeline.jsonl", func(w io.Writer) error { return timeline.Write(w, &undated, a.story.Items) }); err != nil {
		return err
	}
	if undated.Len() > 0 {
		return a.file("timeline-undated.jsonl", func(w io.Writer) error { _, err := w.Write(undated.Bytes()); return err })
	}
	return nil
}

// has reports whether the tape holds what an analysis needs.
func (a *analysis) has(what string) bool {
	kind, ok := map[string]format.StreamKind{"process": format.StreamMemory, "files": format.StreamDisk, "network": format.StreamNetwork}[what]
	return !ok || len(a.tape.Streams(kind)) > 0
}

// verb writes what a verb prints with --json.
func (a *analysis) verb(_ context.Context, verb string, w io.Writer) error {
	t := &terminal{out: bufio.NewWriter(w), err: io.Discard, width: 80}
	switch verb {
	case "ps":
		procs := a.engine.Processes()
		for _, p := range procs.Processes() {
			if err := t.line(&p); err != nil {
				return err
			}
		}
		if err := t.line(map[string]any{"summary": procs.Summary()}); err != nil {
			return err
		}
	case "files":
		for _, e := range a.engine.FileEvents() {
			if err := t.line(&e); err != nil {
				return err
			}
		}
	case "conns":
		i := 0
		for c := range a.engine.Network().Conns() {
			k := *c
			if o := a.story.Owners[i]; o != nil {
				k.Process = o
			}
			i++
			if err := t.line(&k); err != nil {
				return err
			}
		}
	case "story":
		for i := range a.story.Items {
			if err := t.line(&a.story.Items[i]); err != nil {
				return err
			}
		}
	}
	return t.out.Flush()
}

func (a *analysis) tables(context.Context) error {
	tables := table.Make(a.story)
	if slices.Contains(a.o.formats, "parquet") {
		for _, p := range []struct {
			what, name string
			fill       func(io.Writer) error
		}{
			{"process", "processes", func(w io.Writer) error { return table.WriteParquet(w, tables.Processes) }},
			{"files", "files", func(w io.Writer) error { return table.WriteParquet(w, tables.Files) }},
			{"network", "conns", func(w io.Writer) error { return table.WriteParquet(w, tables.Conns) }},
			{"story", "story", func(w io.Writer) error { return table.WriteParquet(w, tables.Story) }},
			{"story", "evidence", func(w io.Writer) error { return table.WriteParquet(w, tables.Evidence) }},
		} {
			if !a.wants(p.what, "parquet") {
				continue
			}
			if err := a.file(p.name+".parquet", p.fill); err != nil {
				return err
			}
		}
	}
	if a.wants("story", "sqlite") {
		path := filepath.Join(a.dir, "story.sqlite")
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := table.WriteSQLite(path, tables); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return a.enter("story.sqlite")
	}
	return nil
}

func (a *analysis) pages(context.Context) error {
	if a.wants("story", "html") {
		d := page.FromStory(a.story)
		d.Tape, d.Root, d.Version = a.manifest.Tape.Name, a.manifest.Tape.Root, version
		if err := a.file("story.html", func(w io.Writer) error { return page.Write(w, d) }); err != nil {
			return err
		}
	}
	if !a.wants("story", "perfetto") {
		return nil
	}
	return a.file("story.pftrace", func(w io.Writer) error {
		undated, err := perfetto.Write(w, a.story)
		if undated > 0 {
			a.t.warnf("story.pftrace: %d items have no known time and are left out", undated)
		}
		return err
	})
}

func (a *analysis) logs(context.Context) error {
	if !a.wants("network", "zeek") || !a.has("network") {
		return nil
	}
	n := a.engine.Network()
	for _, l := range []struct {
		name string
		fill func(io.Writer) error
	}{
		{"conn.log", func(w io.Writer) error { return network.WriteConnLog(w, n.Conns()) }},
		{"dns.log", func(w io.Writer) error { return network.WriteDNSLog(w, n.DNS()) }},
		{"http.log", func(w io.Writer) error { return network.WriteHTTPLog(w, n.HTTP()) }},
		{"ssl.log", func(w io.Writer) error { return network.WriteSSLLog(w, n.TLS()) }},
		{"ssh.log", func(w io.Writer) error { return network.WriteSSHLog(w, n.SSH()) }},
		{"files.log", func(w io.Writer) error { return network.WriteFilesLog(w, n.Files()) }},
		{"quic.log", func(w io.Writer) error { return network.WriteQUICLog(w, n.QUIC()) }},
	} {
		if err := a.file(l.name, l.fill); err != nil {
			return err
		}
	}
	return nil
}

// packets writes the packets with, in the comment, the process that held their
// connection.
func (a *analysis) packets(ctx context.Context) error {
	if !a.wants("network", "pcapng") || !a.has("network") {
		return nil
	}
	whose := newPacketOwner(a.story)
	path := filepath.Join(a.dir, "packets.pcapng")
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = exportPackets(ctx, f, a.tape, "", whose.comment)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return a.enter("packets.pcapng")
}

// bodyfiles writes, for each disk, what mactime reads: the tree as it stands at the
// end, then the names that went; and the changes as DFXML.
func (a *analysis) bodyfiles(context.Context) error {
	if !a.wants("files", "bodyfile") {
		return nil
	}
	for _, d := range a.engine.Disks() {
		name := strings.ReplaceAll(d.Name, "/", "_")
		o := files.BodyfileOptions{}
		err := a.file(name+".bodyfile", func(w io.Writer) error {
			return errors.Join(files.WriteBodyfile(w, d.State, o), files.WriteDeleted(w, d.Events, o))
		})
		if err != nil {
			return err
		}
		if err := a.file(name+".dfxml", func(w io.Writer) error { return files.WriteDFXML(w, d.Name, d.Events) }); err != nil {
			return err
		}
	}
	return nil
}

// programs saves deleted programs that were still in memory. They are what an
// intruder ran: the names say so, and they are not executable here.
func (a *analysis) programs(context.Context) error {
	if !slices.Contains(a.o.only, "story") {
		return nil
	}
	for _, r := range a.story.Input().Recovered {
		name := fmt.Sprintf("recovered-%d-snapshot%d.bin", r.PID, r.Snapshot)
		if r.Missing > 0 {
			name = fmt.Sprintf("recovered-%d-snapshot%d.partial", r.PID, r.Snapshot)
		}
		if err := a.file(name, func(w io.Writer) error { _, err := w.Write(r.Data); return err }); err != nil {
			return err
		}
	}
	return nil
}

// finish writes the manifest and the custody file, which hold the hashes of all
// others.
func (a *analysis) finish() error {
	for name, fill := range map[string]func(io.Writer) error{
		"manifest.json": func(w io.Writer) error { return custody.WriteManifest(w, &a.manifest) },
		"custody.jsonld": func(w io.Writer) error {
			m := a.manifest
			m.Outputs = slices.Clone(a.manifest.Outputs)
			slices.SortFunc(m.Outputs, func(x, y custody.Output) int { return strings.Compare(x.Name, y.Name) })
			return custody.WriteCASE(w, &m)
		},
	} {
		f, err := os.Create(filepath.Join(a.dir, name))
		if err != nil {
			return err
		}
		if err := errors.Join(fill(f), f.Close()); err != nil {
			return err
		}
	}
	return nil
}
