// Package timeline writes a story as JSON lines that Timesketch and Elastic both
// load: every line has Timesketch's three mandatory fields (message, datetime,
// timestamp_desc) and names its fields as the Elastic Common Schema 8 does.
//
// Items without a known time are written to the second writer: Timesketch drops
// such rows, and a made-up time would be worse.
package timeline

import (
	"bufio"
	"encoding/json"
	"io"
	"strings"

	"github.com/xentape/xentape/analyze/story"
)

// maxValue bounds one string, in bytes: Elastic does not index keywords above
// 32,766 bytes, and refuses the whole document.
const maxValue = 32766

type line struct {
	Message       string   `json:"message"`
	Datetime      string   `json:"datetime,omitempty"`
	TimestampDesc string   `json:"timestamp_desc"`
	DataType      string   `json:"data_type"`
	Timestamp     string   `json:"@timestamp,omitempty"`
	ECSVersion    string   `json:"ecs.version"`
	EventKind     string   `json:"event.kind"`
	EventCategory []string `json:"event.category,omitempty"`
	EventType     []string `json:"event.type,omitempty"`
	EventAction   string   `json:"event.action,omitempty"`
	EventSeverity *int     `json:"event.severity,omitempty"`
	EventReason   string   `json:"event.reason,omitempty"`
	EventEnd      string   `json:"event.end,omitempty"`
	RuleID        string   `json:"rule.id,omitempty"`
	Tags          []string `json:"tag,omitempty"`

	ProcessPID   *int   `json:"process.pid,omitempty"`
	ProcessName  string `json:"process.name,omitempty"`
	ProcessExe   string `json:"process.executable,omitempty"`
	ContainerID  string `json:"container.id,omitempty"`
	ProcessGrade string `json:"xentape.process.grade,omitempty"`

	FilePath     string `json:"file.path,omitempty"`
	FileOriginal string `json:"xentape.file.old_path,omitempty"`
	FileInode    string `json:"file.inode,omitempty"`
	FileDevice   string `json:"file.device,omitempty"`
	FileSHA256   string `json:"file.hash.sha256,omitempty"`
	FileConn     string `json:"xentape.file.from_conn,omitempty"`
	FileURL      string `json:"url.original,omitempty"`

	SourceIP    string `json:"source.ip,omitempty"`
	SourcePort  uint16 `json:"source.port,omitempty"`
	DestIP      string `json:"destination.ip,omitempty"`
	DestPort    uint16 `json:"destination.port,omitempty"`
	DestDomain  string `json:"destination.domain,omitempty"`
	Transport   string `json:"network.transport,omitempty"`
	Protocol    string `json:"network.protocol,omitempty"`
	CommunityID string `json:"network.community_id,omitempty"`
	ConnUID     string `json:"xentape.conn.uid,omitempty"`

	Basis    string           `json:"xentape.time_basis,omitempty"`
	Evidence []story.Evidence `json:"xentape.evidence"`
}

// severities are Elastic's event.severity numbers by name; Timesketch shows them.
var severities = map[string]int{"info": 10, "low": 21, "medium": 47, "high": 73, "critical": 99}

// descriptions are timestamp_desc: what happened at the time given.
var descriptions = map[story.Kind]string{
	story.KindSnapshot: "Memory Snapshot", story.KindProcess: "Process Start", story.KindExit: "Process Gone",
	story.KindConnection: "Connection Start", story.KindFile: "File Change", story.KindFinding: "Finding", story.KindGap: "Recording Gap", story.KindClock: "Guest Clock Compared",
}

// Write writes the items with a known time to w and the others to undated.
func Write(w, undated io.Writer, items []story.Item) error {
	dated, rest := bufio.NewWriter(w), bufio.NewWriter(undated)
	de, re := encoder(dated), encoder(rest)
	for i := range items {
		e := de
		if items[i].Time == "" {
			e = re
		}
		if err := e.Encode(convert(&items[i])); err != nil {
			return err
		}
	}
	if err := dated.Flush(); err != nil {
		return err
	}
	return rest.Flush()
}

func encoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}

func convert(it *story.Item) *line {
	l := &line{Message: cut(it.Summary), Datetime: it.Time, Timestamp: it.Time, TimestampDesc: descriptions[it.Kind], DataType: "xentape:" + string(it.Kind),
		ECSVersion: "8.11.0", EventKind: "event", EventEnd: it.TimeUpper, Basis: it.TimeBasis, Evidence: it.Evidence}
	switch it.Kind {
	case story.KindProcess:
		l.EventCategory, l.EventType, l.EventAction = []string{"process"}, []string{"start"}, "process-started"
	case story.KindExit:
		l.EventCategory, l.EventType, l.EventAction = []string{"process"}, []string{"end"}, "process-gone"
	case story.KindConnection:
		l.EventCategory, l.EventType, l.EventAction = []string{"network"}, []string{"connection"}, "connection"
	case story.KindFile:
		l.EventCategory = []string{"file"}
	case story.KindFinding:
		n := severities[it.Severity]
		l.EventKind, l.EventSeverity, l.EventReason, l.RuleID, l.Tags = "alert", &n, cut(it.Why), it.Rule, it.Tags
	}
	if p := it.Process; p != nil {
		l.ProcessPID, l.ProcessName, l.ProcessExe, l.ContainerID, l.ProcessGrade = &p.PID, cut(p.Comm), cut(p.Exe), p.Container, string(p.Grade)
	}
	if f := it.File; f != nil {
		l.FilePath, l.FileOriginal, l.FileInode, l.FileDevice, l.FileSHA256 = cut(f.Path), cut(f.OldPath), number(f.Inode), f.Disk, f.SHA256
		l.FileConn, l.FileURL = f.FromConn, cut(f.FromURL)
		if it.Kind == story.KindFile {
			l.EventAction, l.EventType = "file-"+f.Op, []string{fileType(f.Op)}
		}
	}
	if c := it.Conn; c != nil {
		l.SourceIP, l.SourcePort, l.DestIP, l.DestPort = c.OrigH, c.OrigP, c.RespH, c.RespP
		l.Transport, l.Protocol, l.CommunityID, l.ConnUID = c.Proto, c.Service, c.CommunityID, c.UID
		if len(c.Names) > 0 {
			l.DestDomain = cut(c.Names[0])
		}
	}
	return l
}

// fileType is ECS event.type for a change.
func fileType(op string) string {
	switch op {
	case "create", "mkdir", "symlink", "link":
		return "creation"
	case "delete", "rmdir", "unlink":
		return "deletion"
	}
	return "change"
}

func number(n uint64) string {
	b, _ := json.Marshal(n)
	return string(b)
}

// cut shortens a string to what Elastic indexes, at a rune's border.
func cut(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= maxValue {
		return s
	}
	s = s[:maxValue]
	return strings.ToValidUTF8(s, "")
}
