// Package perfetto writes a story as a native Perfetto trace
// (protos/perfetto/trace/trace.proto): a track for each process, with its
// connections and file changes as tracks below it, and flow arrows from a process
// to what it opened, and from a connection to the file it brought.
package perfetto

import (
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/xentape/xentape/analyze/process"
	"github.com/xentape/xentape/analyze/story"
)

// Field numbers of the messages written.
const (
	tracePacket = 1

	packetClockSnapshot = 6
	packetTimestamp     = 8
	packetSequence      = 10
	packetTrackEvent    = 11
	packetSequenceFlags = 13
	packetDescriptor    = 60

	clockSnapshotClocks = 1
	clockID             = 1
	clockTimestamp      = 2
	clockRealtime       = 1
	clockBoottime       = 6

	descriptorUUID    = 1
	descriptorName    = 2
	descriptorProcess = 3
	descriptorParent  = 5
	processPID        = 1
	processCmdline    = 2
	processName       = 6

	eventAnnotations = 4
	eventType        = 9
	eventTrack       = 11
	eventCategories  = 22
	eventName        = 23
	eventFlows       = 47

	typeBegin   = 1
	typeEnd     = 2
	typeInstant = 3

	annotationString = 6
	annotationName   = 10

	sequenceID         = 1
	incrementalCleared = 1
)

// Tracks that belong to no process.
const (
	trackNetwork = 1 + iota
	trackFiles
	trackFindings
	trackFirst // of the processes
)

type writer struct {
	w    io.Writer
	err  error
	uuid uint64
}

// Write writes the trace. Items without a known time have no place on it and are
// left out; it returns how many.
func Write(out io.Writer, s *story.Story) (undated int, err error) {
	w := &writer{w: out}
	start := firstTime(s)
	w.clock(start)
	w.track(trackNetwork, 0, "connections of unknown processes", nil)
	w.track(trackFiles, 0, "file changes of unknown processes", nil)
	w.track(trackFindings, 0, "findings", nil)
	tracks := w.processes(s)
	w.uuid = trackFirst + uint64(len(tracks))
	flows := map[string]uint64{} // connection uid → flow id
	for i := range s.Items {
		if !w.item(&s.Items[i], tracks[s.ProcessIndex(&s.Items[i])], flows) {
			undated++
		}
	}
	return undated, w.err
}

func firstTime(s *story.Story) uint64 {
	for i := range s.Items {
		if t := s.Items[i].At(); t > 0 {
			return uint64(t)
		}
	}
	return 0
}

// processes makes a track for each process, by its place in the input.
func (w *writer) processes(s *story.Story) map[int]uint64 {
	tracks := map[int]uint64{}
	in := s.Input()
	id := uint64(trackFirst)
	for i := range in.Processes {
		p := &in.Processes[i]
		if p.KernelThread {
			continue
		}
		w.track(id, 0, fmt.Sprintf("%s %d", p.Comm, p.PID), p)
		tracks[i] = id
		id++
	}
	return tracks
}

// item writes one item as a slice or an instant on its track, below that of its
// process; 0 when that is not known.
func (w *writer) item(it *story.Item, parent uint64, flows map[string]uint64) bool {
	at, upper := it.At(), it.Upper()
	if at <= 0 {
		return false
	}
	switch it.Kind {
	case story.KindProcess, story.KindExit:
		w.event(at, typeInstant, orDefault(parent, trackFindings), it, ofProcess(parent))
	case story.KindFinding, story.KindGap, story.KindSnapshot, story.KindClock:
		w.event(at, typeInstant, trackFindings, it, nil)
	case story.KindConnection:
		flow := uint64(len(flows) + 1)
		flows[it.Conn.UID] = flow
		track := w.lane(orDefault(parent, trackNetwork), "connection")
		w.event(at, typeBegin, track, it, append(ofProcess(parent), flow))
		w.event(max(upper, at), typeEnd, track, nil, nil)
	case story.KindFile:
		arrows := ofProcess(parent)
		if f, ok := flows[it.File.FromConn]; ok {
			arrows = append(arrows, f)
		}
		track := w.lane(orDefault(parent, trackFiles), "file change")
		w.event(at, typeBegin, track, it, arrows)
		w.event(max(upper, at), typeEnd, track, nil, nil)
	}
	return true
}

// ofProcess is the flow from a process to what it did: arrows begin at its start.
// Ids of connections' flows are below.
func ofProcess(track uint64) []uint64 {
	if track == 0 {
		return nil
	}
	return []uint64{1<<32 | track}
}

func orDefault(v, d uint64) uint64 {
	if v == 0 {
		return d
	}
	return v
}

// lane makes a track of its own below another: slices that overlap in time may
// not share one.
func (w *writer) lane(parent uint64, name string) uint64 {
	w.uuid++
	w.track(w.uuid, parent, name, nil)
	return w.uuid
}

func (w *writer) packet(body []byte) {
	if w.err != nil {
		return
	}
	b := protowire.AppendTag(nil, tracePacket, protowire.BytesType)
	_, w.err = w.w.Write(protowire.AppendBytes(b, body))
}

func message(b []byte, field protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), m)
}

func varint(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func text(b []byte, field protowire.Number, s string) []byte {
	return message(b, field, []byte(strings.ToValidUTF8(s, "\ufffd")))
}

// clock says that the trace's clock is wall-clock time.
func (w *writer) clock(t uint64) {
	var snap []byte
	for _, id := range []uint64{clockRealtime, clockBoottime} {
		snap = message(snap, clockSnapshotClocks, varint(varint(nil, clockID, id), clockTimestamp, t))
	}
	b := message(nil, packetClockSnapshot, snap)
	b = varint(b, packetSequence, sequenceID)
	w.packet(varint(b, packetSequenceFlags, incrementalCleared))
}

func (w *writer) track(uuid, parent uint64, name string, p *process.Process) {
	d := varint(nil, descriptorUUID, uuid)
	d = text(d, descriptorName, name)
	if parent != 0 {
		d = varint(d, descriptorParent, parent)
	}
	if p != nil {
		pd := varint(nil, processPID, uint64(p.PID))
		for _, a := range p.Args {
			pd = text(pd, processCmdline, a)
		}
		d = message(d, descriptorProcess, text(pd, processName, p.Comm))
	}
	w.packet(varint(message(nil, packetDescriptor, d), packetSequence, sequenceID))
}

func (w *writer) event(at int64, typ, track uint64, it *story.Item, flows []uint64) {
	e := varint(varint(nil, eventType, typ), eventTrack, track)
	if it != nil {
		e = text(e, eventCategories, string(it.Kind))
		e = text(e, eventName, it.Summary)
		for _, a := range [][2]string{{"severity", it.Severity}, {"rule", it.Rule}, {"why", it.Why}, {"basis", it.TimeBasis}} {
			if a[1] != "" {
				e = message(e, eventAnnotations, text(text(nil, annotationName, a[0]), annotationString, a[1]))
			}
		}
		for _, v := range it.Evidence {
			s := fmt.Sprintf("%s %v %s", v.Stream, v.Records, v.Detail)
			e = message(e, eventAnnotations, text(text(nil, annotationName, "evidence"), annotationString, s))
		}
	}
	for _, f := range flows {
		e = protowire.AppendFixed64(protowire.AppendTag(e, eventFlows, protowire.Fixed64Type), f)
	}
	b := varint(nil, packetTimestamp, uint64(at))
	b = message(b, packetTrackEvent, e)
	w.packet(varint(b, packetSequence, sequenceID))
}
