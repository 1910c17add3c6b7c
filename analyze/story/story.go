package story

import (
	"crypto/sha256"
	"encoding/hex"
	"sort"

	"github.com/xentape/xentape/analyze/internal/sigma"
)

// Kind is what an item of the story is.
type Kind string

// The kinds of item.
const (
	KindSnapshot   Kind = "snapshot"
	KindProcess    Kind = "process"    // a process began
	KindExit       Kind = "exit"       // a process was gone at a snapshot
	KindConnection Kind = "connection" // a connection began
	KindFile       Kind = "file"       // something on a disk changed
	KindFinding    Kind = "finding"    // a conclusion
	KindGap        Kind = "gap"        // something is missing from the tape
	KindClock      Kind = "clock"      // how the guest's clock went by the host's
)

// Item is one line of the story.
type Item struct {
	// ID names the item across tellings of a growing tape: a later line with the
	// same id says more of the same thing and replaces it.
	ID        string     `json:"id"`
	Time      string     `json:"time"`                 // RFC 3339, UTC; the lower bound where it is an interval
	TimeUpper string     `json:"time_upper,omitempty"` // the upper bound
	TimeBasis string     `json:"time_basis,omitempty"` // what the time rests on: "packet", "boottime", "snapshot", or the file analyzer's basis
	Kind      Kind       `json:"kind"`
	Severity  string     `json:"severity,omitempty"` // of findings: info, low, medium, high, critical
	Rule      string     `json:"rule,omitempty"`
	Summary   string     `json:"summary"`
	Why       string     `json:"why,omitempty"`
	Tags      []string   `json:"tags,omitempty"`
	Process   *Owner     `json:"process,omitempty"`
	File      *FileRef   `json:"file,omitempty"`
	Conn      *ConnRef   `json:"conn,omitempty"`
	Evidence  []Evidence `json:"evidence"`

	key   string // what makes it this item
	at    int64  // ns since 1970, for order
	upper int64
	rank  int
	proc  identity
	files []int
	conns []int
	ops   []string // of a finding that was merged
}

// FileRef names a file event.
type FileRef struct {
	Op       string `json:"op"`
	Path     string `json:"path"`
	OldPath  string `json:"old_path,omitempty"`
	Disk     string `json:"disk"`
	Inode    uint64 `json:"inode"`
	SHA256   string `json:"sha256,omitempty"`
	FromConn string `json:"from_conn,omitempty"` // uid of the connection that carried the same content
	FromURL  string `json:"from_url,omitempty"`
	// FromBlocks of Blocks blocks written are equal to what FromConn carried; both
	// are 0 when the whole content is.
	FromBlocks int    `json:"from_blocks,omitempty"`
	Blocks     int    `json:"blocks,omitempty"`
	ToConn     string `json:"to_conn,omitempty"` // uid of the connection that took the same content away
	ToURL      string `json:"to_url,omitempty"`
}

// ConnRef names a connection.
type ConnRef struct {
	UID         string   `json:"uid"`
	CommunityID string   `json:"community_id"`
	Proto       string   `json:"proto"`
	OrigH       string   `json:"id.orig_h"`
	OrigP       uint16   `json:"id.orig_p"`
	RespH       string   `json:"id.resp_h"`
	RespP       uint16   `json:"id.resp_p"`
	Service     string   `json:"service,omitempty"`
	State       string   `json:"conn_state"`
	Names       []string `json:"names,omitempty"` // what the peer was asked for by
}

// Story is the whole, in time order.
type Story struct {
	Items []Item
	// Owners has, for each connection of the input, the process that held it, or
	// nil; Writers likewise for each file event.
	Owners   []*Owner
	Writers  []*Owner
	in       *Input
	position map[identity]int
}

// Input is what the story was told of.
func (s *Story) Input() *Input { return s.in }

// Tell joins the input and draws conclusions by the rules given, besides those of
// the analyzers themselves.
func Tell(in *Input, rules []*sigma.Rule) *Story {
	j := join(in)
	s := &Story{Owners: j.owners, Writers: j.writers, in: in, position: positions(in.Processes)}
	j.clock(s)
	j.snapshots(s)
	j.processes(s, rules)
	j.connections(s, rules)
	j.files(s, rules)
	j.odd(s, rules)
	j.gaps(s)
	sort.SliceStable(s.Items, func(a, b int) bool {
		x, y := &s.Items[a], &s.Items[b]
		switch {
		case x.at != y.at:
			return x.at < y.at
		case x.rank != y.rank:
			return x.rank < y.rank
		case x.upper != y.upper:
			return x.upper < y.upper
		}
		return x.Summary < y.Summary
	})
	return s
}

// The order of items of one instant: causes before what is made of them.
const (
	rankGap = iota
	rankSnapshot
	rankProcess
	rankConn
	rankFile
	rankExit
	rankFinding
)

func (s *Story) add(it Item) {
	sum := sha256.Sum256([]byte(string(it.Kind) + "\x00" + it.Rule + "\x00" + it.key))
	it.ID = hex.EncodeToString(sum[:8])
	it.stamp()
	if it.Kind == KindFinding && it.File != nil {
		it.ops = []string{it.File.Op}
	}
	if it.Evidence == nil {
		it.Evidence = []Evidence{}
	}
	s.Items = append(s.Items, it)
}

func (it *Item) stamp() {
	it.Time = rfc3339(it.at)
	if it.upper > it.at {
		it.TimeUpper = rfc3339(it.upper)
	}
}
