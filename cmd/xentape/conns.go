package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xentape/xentape/analyze/network"
	"github.com/xentape/xentape/analyze/story"
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
  xentape conns --json capture.pcap | jq 'select(.service == "ssl") | .tls.server_name'
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
	head, size, err := peek(path)
	if err != nil {
		return err
	}
	var f *flows
	if isTape(head) {
		f, err = o.ofTape(t, path)
	} else {
		f, err = o.ofCapture(ctx, t, path, size)
	}
	if err != nil {
		return err
	}
	if !o.json {
		t.printf("%s\n", t.style(styleBold, fmt.Sprintf("%-23s %-5s %-43s %-8s %-6s %10s %10s", "TIME (UTC)", "PROTO", "FROM → TO", "SERVICE", "STATE", "OUT", "BACK")))
	}
	i := 0
	for c := range f.net.Conns() {
		k := *c
		if i < len(f.owners) && f.owners[i] != nil {
			k.Process = f.owners[i]
		}
		i++
		if o.json {
			if err := t.line(&k); err != nil {
				return err
			}
			continue
		}
		printConn(t, &k)
	}
	if doubts := f.net.Doubts(); len(doubts) > 0 {
		t.sayOnce(doubts)
		f.complete = false
	}
	if !f.complete {
		return incomplete
	}
	return nil
}

// flows are the connections of one tape or capture.
type flows struct {
	net      *network.Analyzer
	owners   []*story.Owner // of each connection, where memory tells
	complete bool           // all packets could be read; what could not has been said
}

// ofTape reads the connections of a tape, and the processes that held them where
// it has memory snapshots.
func (o *connsOptions) ofTape(t *terminal, path string) (*flows, error) {
	tape, err := o.openTape(path)
	if err != nil {
		return nil, err
	}
	defer tape.Close()
	if len(tape.Streams(format.StreamNetwork)) == 0 {
		return nil, fmt.Errorf("%s: the tape holds no network stream, so nothing can be said of connections", path)
	}
	e := story.NewEngine(tape, story.Options{IgnoreChecksums: o.noChecksums, Workers: o.workers, NoDisks: true})
	s, err := e.Run(func(seq uint64) { t.progress("record %d", seq) })
	t.clearProgress()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f := &flows{net: e.Network(), owners: s.Owners, complete: true}
	t.sayOnce(problemText(path+": ", e.Problems()))
	f.complete = len(e.Problems()) == 0
	return f, nil
}

// ofCapture reads the connections of a pcap or pcapng file.
func (o *connsOptions) ofCapture(ctx context.Context, t *terminal, path string, size int64) (*flows, error) {
	a := network.New(network.Options{Content: true, IgnoreChecksums: o.noChecksums, Workers: o.workers})
	complete, err := feedCapture(ctx, t, path, size, a)
	if err == nil {
		err = a.Finish()
	}
	return &flows{net: a, complete: complete}, err
}

func feedCapture(ctx context.Context, t *terminal, path string, size int64, a *network.Analyzer) (complete bool, err error) {
	f, _, err := openInput(path)
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
	if w, ok := c.Process.(*story.Owner); ok {
		t.printf("%s%s\n", strings.Repeat(" ", 30), t.style(styleName, printable(fmt.Sprintf("by %s (%d) %s, %s", w.Comm, w.PID, w.Exe, w.Grade))))
	}
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
