package files

import (
	"encoding/json"
	"fmt"
	"io"
)

// sketchLine is an event as Timesketch imports it: one object a line with
// message, datetime and timestamp_desc (timesketch.org, "Import from JSON or CSV").
type sketchLine struct {
	Message       string `json:"message"`
	Datetime      string `json:"datetime"`
	Timestamp     int64  `json:"timestamp"` // microseconds since 1970
	TimestampDesc string `json:"timestamp_desc"`
	DataType      string `json:"data_type"`
	Event
}

// WriteTimesketch writes the events that have a time. Rows without one would be
// dropped by Timesketch or need an invented time; the number left out is returned.
func WriteTimesketch(w io.Writer, events []Event) (skipped int, err error) {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for i := range events {
		e := &events[i]
		at, desc := e.TimeLower, timeDesc(e)
		if !at.Known() {
			at, desc = e.TimeUpper, "Commit Time (block trace), latest possible"
		}
		if !at.Known() {
			skipped++
			continue
		}
		l := sketchLine{Message: e.Message(), Datetime: at.String(), Timestamp: int64(at) / 1000,
			TimestampDesc: desc, DataType: "fs:block_trace:event", Event: *e}
		if err := enc.Encode(l); err != nil {
			return skipped, fmt.Errorf("event %d: %w", i, err)
		}
	}
	return skipped, nil
}

func timeDesc(e *Event) string {
	switch e.TimeBasis {
	case BasisBirth:
		return "Creation Time"
	case BasisChange:
		return "Metadata Modification Time"
	case BasisModify:
		return "Content Modification Time"
	}
	return "Commit Time (block trace), earliest possible"
}

// Message is the event in a line for a person.
func (e *Event) Message() string {
	s := fmt.Sprintf("%s %s", e.Op, e.Path)
	if e.OldPath != "" {
		s = fmt.Sprintf("%s %s -> %s", e.Op, e.OldPath, e.Path)
	}
	switch e.Op {
	case OpChmod:
		s += fmt.Sprintf(" %s -> %s", e.ModeOld, e.Mode)
	case OpChown:
		if e.UIDOld != nil && e.GIDOld != nil && e.UID != nil && e.GID != nil {
			s += fmt.Sprintf(" %d:%d -> %d:%d", *e.UIDOld, *e.GIDOld, *e.UID, *e.GID)
		}
	case OpTruncate:
		if e.SizeOld != nil && e.Size != nil {
			s += fmt.Sprintf(" %d -> %d bytes", *e.SizeOld, *e.Size)
		}
	case OpWrite:
		s += fmt.Sprintf(" %d bytes in %d ranges", written(e), len(e.Ranges))
	case OpSymlink:
		s += " to " + e.Target
	case OpUtime:
		if e.MTime.Known() {
			s += " mtime " + e.MTime.String()
		}
	}
	return s
}
