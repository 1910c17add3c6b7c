package story

import (
	"fmt"
	"path"
	"strings"

	"github.com/xentape/xentape/analyze/internal/sigma"
	"github.com/xentape/xentape/analyze/network"
)

func (j *joiner) connections(s *Story, rules []*sigma.Rule) {
	for i, c := range j.in.Conns {
		at := int64(c.TS)
		upper := at
		if c.Duration != nil {
			upper += int64(*c.Duration)
		}
		ev := []Evidence{{Stream: orDefault(c.Stream, "network"), Records: records(c.FirstRecord, c.LastRecord)}}
		o := j.owners[i]
		if o != nil {
			ev = append(ev, o.Evidence...)
		}
		if n := j.missing[i]; n != nil {
			ev = append(ev, Evidence{Stream: "memory", Records: []uint64{n.First, n.Last},
				Detail: fmt.Sprintf("snapshot #%d, while the connection was open: none of %d processes has its socket", n.Number, len(n.Processes))})
		}
		for _, k := range j.sent[i] {
			f := &j.in.Files[k]
			ev = append(ev, Evidence{Stream: f.Disk, Records: records(f.First, f.Last), Detail: fmt.Sprintf("%s had the content that this connection took away, sha256 %s", f.Path, f.SHA256New)})
		}
		ref := j.connRef(c)
		s.add(Item{key: c.UID, at: at, upper: upper, TimeBasis: "packet", rank: rankConn, Kind: KindConnection, Process: o, Conn: ref, proc: ownerKey(o), conns: []int{i},
			Summary: connSummary(c, ref, o) + j.sentText(i), files: j.sent[i], Evidence: ev})
		e := j.connEvent(i)
		for _, r := range rules {
			if r.Category == "network_connection" && r.Match(e) {
				it := finding(r, connText(ref)+j.sentText(i), ev)
				it.key = c.UID
				it.at, it.upper, it.TimeBasis, it.Process, it.Conn, it.proc, it.conns = at, upper, "packet", o, ref, ownerKey(o), []int{i}
				it.files = j.sent[i]
				s.add(it)
			}
		}
	}
}

// sentText names the files whose content a connection took away.
func (j *joiner) sentText(i int) string {
	var names []string
	for _, k := range j.sent[i] {
		names = append(names, j.in.Files[k].Path)
	}
	names = unique(names)
	switch n := len(names); {
	case n == 0:
		return ""
	case n > 3:
		return fmt.Sprintf(", took away the content of %s and %d more", strings.Join(names[:3], ", "), n-3)
	}
	return ", took away the content of " + strings.Join(names, ", ")
}

func ownerKey(o *Owner) identity {
	if o == nil {
		return identity{}
	}
	return o.key
}

func records(first, last uint64) []uint64 {
	if first == last {
		return []uint64{first}
	}
	return []uint64{first, last}
}

func orDefault(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

func (j *joiner) connRef(c *network.Conn) *ConnRef {
	return &ConnRef{UID: c.UID, CommunityID: c.CommunityID, Proto: c.Proto, OrigH: c.OrigH.String(), OrigP: c.OrigP,
		RespH: c.RespH.String(), RespP: c.RespP, Service: c.Service, State: c.ConnState, Names: unique(j.in.Names[c.UID])}
}

func unique(in []string) []string {
	seen := map[string]bool{}
	out := in[:0:0]
	for _, s := range in {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

func connText(r *ConnRef) string {
	t := fmt.Sprintf("%s %s → %s", r.Proto, host(r.OrigH, r.OrigP), host(r.RespH, r.RespP))
	if len(r.Names) > 0 {
		t += " (" + strings.Join(r.Names[:min(3, len(r.Names))], ", ") + ")"
	}
	return t
}

func host(h string, p uint16) string {
	if strings.Contains(h, ":") {
		h = "[" + h + "]"
	}
	return fmt.Sprintf("%s:%d", h, p)
}

func connSummary(c *network.Conn, r *ConnRef, o *Owner) string {
	t := connText(r)
	if c.Service != "" {
		t += ", " + c.Service
	}
	t += ", " + c.ConnState
	if c.OrigBytes != nil {
		t += fmt.Sprintf(", %d bytes out and %d back", *c.OrigBytes, *c.RespBytes)
	}
	if o != nil {
		t += o.text()
	}
	return t
}

// text names the process for a sentence, and says when it was one of several.
func (o *Owner) text() string {
	t := fmt.Sprintf(", by %s (%d)", o.title(), o.PID)
	if n := len(o.SharedWith); n > 0 {
		t += fmt.Sprintf(" or %d that share it", n)
	}
	return t + fmt.Sprintf(" [%s]", o.Grade)
}

func (o *Owner) title() string {
	if o.Exe != "" {
		return path.Base(strings.TrimSuffix(o.Exe, " (deleted)"))
	}
	return o.Comm
}
