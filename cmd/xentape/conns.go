package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xentape/xentape/analyze/network"
	"github.com/xentape/xentape/capture/foreign"
	"github.com/xentape/xentape/format"
)

type connsOptions struct {
	keyFlags
	noChecksums bool
	json        bool
	workers     int
}

func newConnsCommand(t *terminal) *cobra.Command {
	var o connsOptions
	c := &cobra.Command{
		Use:     "conns TAPE",
		GroupID: "ask",
		Short:   "Connections: who the guest talked to, and what was said",
		Long: `conns reads the packets of a tape, or of a pcap or pcapng file, and tells each
connection in Zeek's terms, with what DNS, HTTP, TLS, SSH and QUIC show.` + "\n" + exitStatusHelp,
		Example: `  xentape conns incident.xtape
  xentape conns --json capture.pcap | jq 'select(.service == "tls") | .tls.server_name'
  xentape conns --no-checksums offloaded.pcapng`,
		Args: nargs(1, 1),
		RunE: func(c *cobra.Command, args []string) error { return runConns(c.Context(), t, &o, args[0]) },
	}
	f := c.Flags()
	f.BoolVar(&o.noChecksums, "no-checksums", false, "take packets whose checksum is wrong (Zeek's -C)")
	f.BoolVar(&o.json, "json", false, "one JSON object a line")
	f.IntVar(&o.workers, "workers", 1, "goroutines; -1 = one a processor. The result does not depend on it")
	o.register(c)
	return c
}

func runConns(ctx context.Context, t *terminal, o *connsOptions, path string) error {
	a, complete, err := feedPackets(ctx, t, o, path)
	if err != nil {
		return err
	}
	if err := a.Finish(); err != nil {
		return err
	}
	if !o.json {
		t.printf("%s\n", t.style(styleBold, fmt.Sprintf("%-23s %-5s %-43s %-8s %-6s %10s %10s", "TIME (UTC)", "PROTO", "FROM → TO", "SERVICE", "STATE", "OUT", "BACK")))
	}
	for c := range a.Conns() {
		if o.json {
			if err := t.line(c); err != nil {
				return err
			}
			continue
		}
		printConn(t, c)
	}
	if len(a.Gaps()) > 0 {
		t.warnf("%d gaps in the recording: connections they touch are marked uncertain", len(a.Gaps()))
		complete = false
	}
	if !complete {
		return incomplete
	}
	return nil
}

// feedPackets gives an analyzer the packets of a tape or a capture file. complete
// is false when some could not be read; that has been said.
func feedPackets(ctx context.Context, t *terminal, o *connsOptions, path string) (a *network.Analyzer, complete bool, err error) {
	no := network.Options{Content: true, IgnoreChecksums: o.noChecksums, Workers: o.workers}
	head, size, err := peek(path)
	if err != nil {
		return nil, false, err
	}
	if !isTape(head) {
		a = network.New(no)
		complete, err = feedCapture(ctx, t, path, size, a)
		return a, complete, err
	}
	tape, err := o.openTape(path)
	if err != nil {
		return nil, false, err
	}
	defer tape.Close()
	if len(tape.Streams(format.StreamNetwork)) == 0 {
		return nil, false, fmt.Errorf("%s: the tape holds no network stream, so nothing can be said of connections", path)
	}
	no.RealtimeOffset = tape.Clock().WallOffset()
	a, complete = network.New(no), true
	q := format.Query{Kinds: []format.StreamKind{format.StreamNetwork, format.StreamTape}}
	n := 0
	for r, err := range tape.Reader().Records(q) {
		if n++; n%65536 == 0 && ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
		if err != nil {
			t.warnf("%s: %v", path, err)
			complete = false
			continue
		}
		if err := a.Feed(r); err != nil {
			return nil, false, err
		}
	}
	return a, complete, nil
}

func feedCapture(ctx context.Context, t *terminal, path string, size int64, a *network.Analyzer) (complete bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	ps, err := foreign.OpenPackets(f, filepath.Base(path))
	if err != nil {
		return false, err
	}
	complete = true
	damaged := 0
	var n uint64
	for p, err := range ps.All() {
		if err != nil {
			if damaged++; damaged <= 5 || !errors.Is(err, foreign.ErrDamaged) {
				t.warnf("%v", err)
			}
			complete = false
			continue
		}
		if n++; n%65536 == 0 {
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
			t.progress("%d packets of %s", n, size2(size))
		}
		// Capture files carry wall-clock times; the packet's number stands for the
		// record number it would have on a tape.
		p.Seq = n
		if err := a.Feed(p); err != nil {
			return false, err
		}
	}
	t.clearProgress()
	if damaged > 5 {
		t.warnf("%s: %d damaged places in all", path, damaged)
	}
	return complete, nil
}

func size2(n int64) string { return size(uint64(max(n, 0))) }

func printConn(t *terminal, c *network.Conn) {
	when := time.Unix(0, int64(c.TS)).UTC().Format("2006-01-02 15:04:05.000")
	out, back := "-", "-"
	if c.OrigBytes != nil {
		out, back = fmt.Sprint(*c.OrigBytes), fmt.Sprint(*c.RespBytes)
	}
	mark := ""
	if c.Uncertain {
		mark = " (packets missing)"
	}
	t.printf("%-23s %-5s %-43s %-8s %-6s %10s %10s%s\n", when, c.Proto,
		hostPort(c.OrigH.String(), c.OrigP)+" → "+hostPort(c.RespH.String(), c.RespP), orDash(c.Service), c.ConnState, out, back, mark)
	if said := printable(strings.Join(connDetail(c), ", ")); said != "" {
		t.printf("%s%s\n", strings.Repeat(" ", 30), t.style(styleDim, clip(said, max(40, t.width-30))))
	}
}

// connDetail is what was said inside the connection, in a few words each.
func connDetail(c *network.Conn) []string {
	var d []string
	for _, q := range c.DNS {
		if q.Query != nil {
			d = append(d, q.QTypeName+" "+*q.Query)
		}
	}
	for _, h := range c.HTTP {
		d = append(d, h.Method+" "+h.Host+h.URI)
	}
	if c.TLS != nil && c.TLS.ServerName != "" {
		d = append(d, "TLS to "+c.TLS.ServerName)
	}
	if c.QUIC != nil && c.QUIC.ServerName != "" {
		d = append(d, "QUIC to "+c.QUIC.ServerName)
	}
	return d
}

func hostPort(h string, p uint16) string {
	if strings.Contains(h, ":") {
		h = "[" + h + "]"
	}
	return fmt.Sprintf("%s:%d", h, p)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
