package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

func newInfoCommand(t *terminal) *cobra.Command {
	var keys keyFlags
	var asJSON, events bool
	c := &cobra.Command{
		Use:     "info TAPE",
		GroupID: "tape",
		Short:   "What is on a tape: streams, snapshots, gaps, times, seals",
		Long: `info reads a tape's index, not its content, so that it answers at once for a
large tape. It opens unfinished and damaged tapes too, and says so. With --events it
reads the tape for what the recorder noted: devices attached and detached, reboots,
what could not be recorded.` + "\n" + exitStatusHelp,
		Example: "  xentape info incident.xtape\n  xentape info --json incident.xtape | jq .snapshots\n  xentape info --events incident.xtape",
		Args:    nargs(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			tape, err := keys.openTape(args[0])
			if err != nil {
				return err
			}
			defer tape.Close()
			i := describeTape(tape, args[0])
			if events {
				if err := i.readEvents(tape); err != nil {
					return err
				}
			}
			if asJSON {
				if err := t.line(i); err != nil {
					return err
				}
			} else {
				i.print(t)
			}
			if len(i.Damage) > 0 {
				return incomplete
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	c.Flags().BoolVar(&events, "events", false, "what the recorder noted of the guest's life and its own")
	keys.register(c)
	return c
}

// tapeInfo is what info says, in both forms.
type tapeInfo struct {
	Tape      string          `json:"tape"`
	ID        string          `json:"id"`
	Producer  string          `json:"producer"`
	Sealed    bool            `json:"sealed"`
	Encrypted bool            `json:"encrypted"`
	Signer    string          `json:"signer,omitempty"`
	Start     string          `json:"start"`
	End       string          `json:"end"`
	Duration  float64         `json:"duration"` // seconds
	Records   uint64          `json:"records"`
	Streams   []streamInfo    `json:"streams"`
	Snapshots []snapshotInfo  `json:"snapshots"`
	Gaps      []gapInfo       `json:"gaps"`
	Events    []eventInfo     `json:"events,omitempty"` // with --events
	Anchors   int             `json:"anchors"`
	Damage    []format.Damage `json:"damage"`
}

type streamInfo struct {
	ID     uint32            `json:"id"`
	Kind   string            `json:"kind"`
	Name   string            `json:"name"`
	Domain string            `json:"domain,omitempty"`
	DomID  int               `json:"domid"`
	Epoch  uint32            `json:"epoch"`
	Size   uint64            `json:"size,omitempty"`
	Attrs  map[string]string `json:"attrs,omitempty"`
}

type snapshotInfo struct {
	Number    int     `json:"number"`
	Stream    string  `json:"stream"`
	Time      string  `json:"time"`
	Complete  bool    `json:"complete"`
	Paused    bool    `json:"paused"`
	Fuzzy     bool    `json:"fuzzy"`
	Quiesced  bool    `json:"quiesced"`
	PauseMS   float64 `json:"pause_ms"`
	CopyMS    float64 `json:"copy_ms"`
	Method    string  `json:"method"`
	Examined  uint64  `json:"examined"`
	Changed   uint64  `json:"changed"`
	Parent    uint32  `json:"parent,omitempty"`
	FirstSeq  uint64  `json:"first_record"`
	LastSeq   uint64  `json:"last_record,omitempty"`
	Unended   bool    `json:"unended,omitempty"`
	PageCount uint64  `json:"pages"`
}

type gapInfo struct {
	Stream string  `json:"stream"`
	From   string  `json:"from"`
	To     string  `json:"to"`
	Reason string  `json:"reason"`
	Count  *uint64 `json:"count"` // null: not known
	Bytes  uint64  `json:"bytes,omitempty"`
	Detail string  `json:"detail"`
	Record uint64  `json:"record"`
}

type eventInfo struct {
	Time   string            `json:"time"`
	Stream string            `json:"stream,omitempty"`
	Kind   string            `json:"kind"`
	Attrs  map[string]string `json:"attrs,omitempty"`
	Record uint64            `json:"record"`
}

var kindNames = map[format.StreamKind]string{
	format.StreamTape: "tape", format.StreamMemory: "memory", format.StreamDisk: "disk", format.StreamNetwork: "network", format.StreamGuest: "guest",
}

var gapReasons = map[format.GapReason]string{
	format.GapUnknown: "unknown", format.GapOverflow: "overflow", format.GapBudget: "budget", format.GapDiskFull: "disk-full",
	format.GapUnreadable: "unreadable", format.GapDamage: "damage", format.GapDetached: "detached", format.GapRedacted: "redacted", format.GapNoPayload: "no-payload",
}

func describeTape(tape *replay.Tape, path string) *tapeInfo {
	r, clock := tape.Reader(), tape.Clock()
	h := r.Header()
	i := &tapeInfo{Tape: path, ID: uuid.UUID(h.TapeID).String(), Producer: h.Producer, Sealed: r.Sealed(), Encrypted: r.Encrypted(),
		Signer: hex.EncodeToString(h.Signer), Start: clock.Format(clock.Start()), Records: r.Settled(), Anchors: len(r.Anchors()),
		Streams: []streamInfo{}, Snapshots: []snapshotInfo{}, Gaps: []gapInfo{}, Damage: []format.Damage{}}
	end := tape.End()
	i.End, i.Duration = clock.Format(end), time.Duration(end-clock.Start()).Seconds()
	names := map[format.StreamID]string{}
	for _, s := range r.Streams() {
		names[s.ID] = s.Name
		si := streamInfo{ID: uint32(s.ID), Kind: kindNames[s.Kind], Name: s.Name, DomID: int(s.DomID), Epoch: s.Epoch, Size: s.Size, Attrs: map[string]string{}}
		if s.DomID == 0xffff {
			si.DomID = -1
		}
		if s.Domain != [16]byte{} {
			si.Domain = uuid.UUID(s.Domain).String()
		}
		for _, a := range s.Attrs {
			si.Attrs[a.Name] = a.Value
		}
		i.Streams = append(i.Streams, si)
	}
	number := map[uint32]int{}
	for _, m := range tape.Snapshots() {
		number[m.ID] = m.Snapshot
	}
	for _, s := range r.Snapshots() {
		i.Snapshots = append(i.Snapshots, describeSnapshot(clock, s, names[s.Begin.Stream], number[s.Begin.ID]))
	}
	for _, g := range r.Gaps() {
		gi := gapInfo{Stream: names[g.Stream], From: clock.Format(g.From), To: clock.Format(g.To), Reason: gapReasons[g.Reason], Detail: g.Detail, Record: g.Seq}
		if g.Count != format.Unknown {
			gi.Count = &g.Count
		}
		for _, e := range g.Extents {
			gi.Bytes += e.Count
		}
		i.Gaps = append(i.Gaps, gi)
	}
	i.Damage = append(i.Damage, r.Damage()...)
	return i
}

// readEvents adds the events of a tape. What of it is damaged is told with the rest.
func (i *tapeInfo) readEvents(tape *replay.Tape) error {
	names := map[format.StreamID]string{}
	for _, s := range tape.Reader().Streams() {
		names[s.ID] = s.Name
	}
	for rec, err := range tape.Reader().Records(format.Query{Types: []format.RecordType{format.TypeEvent}}) {
		var damage *format.Damage
		if errors.As(err, &damage) {
			continue
		}
		if err != nil {
			return err
		}
		e := rec.(*format.Event)
		ei := eventInfo{Time: tape.Clock().Format(e.Time), Stream: names[e.Stream], Kind: e.Kind, Attrs: map[string]string{}, Record: e.Seq}
		for _, a := range e.Attrs {
			ei.Attrs[a.Name] = a.Value
		}
		i.Events = append(i.Events, ei)
	}
	i.Damage = append(i.Damage[:0], tape.Reader().Damage()...)
	return nil
}

func describeSnapshot(clock *replay.Clock, s format.SnapshotInfo, stream string, number int) snapshotInfo {
	si := snapshotInfo{Number: number, Stream: stream, Time: clock.Format(s.Begin.Time), Parent: s.Begin.Parent, FirstSeq: s.Begin.Seq, PageCount: s.Begin.Pages}
	e := s.End
	if e == nil {
		si.Unended = true
		return si
	}
	at := e.Time
	if e.PauseDone != 0 {
		at = e.PauseDone
		si.PauseMS = float64(e.Unpause-e.PauseCall) / 1e6
	}
	si.Time, si.LastSeq = clock.Format(at), e.Seq
	si.Complete, si.Paused, si.Fuzzy, si.Quiesced = e.Complete, e.Paused, e.Fuzzy, e.Quiesced
	si.CopyMS, si.Method, si.Examined, si.Changed = float64(e.CopyEnd-e.CopyStart)/1e6, e.Method, e.Examined, e.Changed
	return si
}

func (i *tapeInfo) print(t *terminal) {
	head := func(k, v string) { t.printf("%-10s %s\n", k, printable(v)) }
	head("tape", i.Tape)
	head("id", i.ID)
	head("made by", i.Producer)
	state := "sealed"
	if !i.Sealed {
		state = t.style(styleWarn, "not sealed: still being recorded, or cut off")
	}
	if i.Encrypted {
		state += ", content encrypted"
	}
	if i.Signer != "" {
		state += ", signed"
	}
	t.printf("%-10s %s\n", "state", state)
	head("time", fmt.Sprintf("%s to %s (%s)", i.Start, i.End, time.Duration(i.Duration*float64(time.Second)).Round(time.Millisecond)))
	head("records", fmt.Sprint(i.Records))
	t.printf("\n%s\n", t.style(styleBold, "STREAM    NAME        DOMAIN                                DETAIL"))
	for _, s := range i.Streams {
		t.printf("%-9s %-11s %-37s %s\n", s.Kind, printable(s.Name), s.Domain, printable(attrText(&s)))
	}
	if len(i.Snapshots) > 0 {
		t.printf("\n%s\n", t.style(styleBold, "SNAPSHOT  TIME                            HOW"))
	}
	for _, s := range i.Snapshots {
		n := "base"
		if s.Number > 0 {
			n = fmt.Sprintf("#%d", s.Number)
		}
		t.printf("%-9s %-31s %s\n", n, s.Time, printable(s.text()))
	}
	if len(i.Gaps) > 0 {
		t.printf("\n%s\n", t.style(styleBold, "GAP       TIME                            WHAT IS MISSING"))
	}
	for _, g := range i.Gaps {
		count := "unknown how much"
		if g.Count != nil {
			count = fmt.Sprintf("%d records", *g.Count)
		}
		t.printf("%-9s %-31s %s: %s, %s\n", printable(g.Stream), g.From, g.Reason, count, printable(g.Detail))
	}
	if len(i.Events) > 0 {
		t.printf("\n%s\n", t.style(styleBold, "EVENT     TIME                            WHAT"))
	}
	for _, e := range i.Events {
		t.printf("%-9s %-31s %s %s\n", printable(e.Stream), e.Time, printable(e.Kind), printable(attrsText(e.Attrs)))
	}
	for _, d := range i.Damage {
		t.printf("%s %s\n", t.style(styleAlert, "damage"), printable(d.Error()))
	}
}

func attrText(s *streamInfo) string {
	text := ""
	if s.Size > 0 {
		text = size(s.Size) + " "
	}
	return clip(text+attrsText(s.Attrs), 100)
}

func attrsText(attrs map[string]string) string {
	text := ""
	for _, n := range slices.Sorted(maps.Keys(attrs)) {
		text += n + "=" + attrs[n] + " "
	}
	return text
}

func (s *snapshotInfo) text() string {
	if s.Unended {
		return s.Stream + ", never finished"
	}
	text := fmt.Sprintf("%s, %s", s.Stream, s.Method)
	switch {
	case s.Paused:
		text += fmt.Sprintf(", guest paused %.1f ms", s.PauseMS)
	case s.Fuzzy:
		text += fmt.Sprintf(", copied within %.0f ms while the guest ran", s.CopyMS)
	}
	if s.Quiesced {
		text += ", no request in flight"
	}
	if s.Parent != 0 {
		text += fmt.Sprintf(", %d of %d pages changed", s.Changed, s.Examined)
	}
	if !s.Complete {
		text += ", incomplete"
	}
	return text
}
