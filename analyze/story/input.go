package story

import (
	"time"

	"github.com/xentape/xentape/analyze/files"
	"github.com/xentape/xentape/analyze/network"
	"github.com/xentape/xentape/analyze/process"
)

// Input is everything the other analyzers found on one tape.
type Input struct {
	// Snapshots are the moments processes were looked at, in order, each with the
	// processes that stood then.
	Snapshots []Snapshot
	// Processes is the model over all snapshots: one element per process.
	Processes []process.Process
	Oddities  []Oddity
	Files     []FileEvent
	Conns     []*network.Conn
	// Names are what the peer of a connection was asked for by: TLS and QUIC
	// server names, HTTP hosts, DNS queries; by the connection's uid.
	Names     map[string][]string
	Transfers []Transfer
	Gaps      []Gap
	// Heard is when packets were recorded; nil when they were not.
	Heard *Span
	// Boot is the time, ns since 1970 UTC by the recording host's clock, at which
	// the guest's boot clock read zero; 0 when not known. Process start times count
	// from it.
	Boot int64
	// Clock says how the guest's wall clock went by the recording host's; nil when
	// that cannot be read. The times of inodes are the guest's; Files has them by
	// the host's clock already.
	Clock *GuestClock
	// Recovered are deleted programs whose content was still in the page cache.
	Recovered []Recovered
	// Realtime converts tape time to wall-clock time; ok is false when the tape
	// has no anchor.
	Realtime func(tape int64) (ns int64, ok bool)
}

// GuestClock compares the guest's wall clock with the recording host's.
type GuestClock struct {
	Snapshot    int
	Ahead       int64 // ns by which the guest's clock is ahead; negative: behind
	Uncertainty int64 // ns; how long the snapshot's instant may be off
}

// Recovered is the content of a deleted program that was still running.
type Recovered struct {
	PID      int
	Start    uint64
	Task     process.Address
	Snapshot int
	Path     string
	Size     uint64
	SHA256   string        // of the whole; "" when pages are missing
	Missing  uint64        // bytes that were not in memory
	Blocks   []files.Block // of what was
	Data     []byte
}

// Snapshot is the state of the process table at one moment.
type Snapshot struct {
	Number    int
	Time      int64  // tape time, ns
	Realtime  int64  // ns since 1970 UTC, 0 unknown
	First     uint64 // sequence numbers of its first and last record
	Last      uint64
	Paused    bool
	Processes []process.Process
}

// FileEvent is one change on a disk.
type FileEvent struct {
	Op, Path, OldPath, Type string
	Inode                   uint64
	Disk, Filesystem        string
	Volume                  string // the disk's name, a partition's ("xvda1"), or a logical volume's ("vg0/root")
	Size                    uint64
	SizeOld                 *uint64 // when it changed
	Shown                   bool    // what was written earlier can be read only now
	Mode                    uint32
	UID, GID                uint32
	SHA256Old, SHA256New    string
	Lower, Upper            int64 // ns since 1970 UTC, by the disk's own account
	Basis                   string
	First, Last             uint64        // records it was derived from
	Added, Removed          []string      // lines of text, where a text diff could be made
	Blocks                  []files.Block // of what was written
	Cached                  []Evidence    // what the page cache of the snapshot before held of it
}

// Oddity is a conclusion that one of the analyzers drew by itself: a process the
// kernel's lists disagree about, a file whose times contradict each other.
type Oddity struct {
	Rule     string // its kind; rules of category analyzer_finding match it as field "finding"
	Severity string // where no rule says more
	Summary  string
	Why      string
	At       int64 // ns since 1970 UTC
	PID      int   // 0 when it is about no process
	Start    uint64
	Task     process.Address
	File     int // index into Files, -1 when it is about no file
	Path     string
	Detail   string         // tells it from others that read the same
	Fields   map[string]any // more for rules to look at
	Evidence []Evidence
}

// Transfer is a file that was carried over a connection.
type Transfer struct {
	UID         string // of the connection
	SHA256      string
	Size        uint64
	MIME        string
	URL         string
	IsOrig      bool // sent by the originator of the connection
	First, Last uint64
	Complete    bool
	Blocks      [][32]byte // see network.File.Blocks
}

// Gap is a time for which a stream is incomplete.
type Gap struct {
	Stream   string
	From, To int64 // ns since 1970 UTC
	Reason   string
	Record   uint64
	Network  bool // of a stream of packets
}

// Span is a stretch of time, ns since 1970 UTC.
type Span struct{ From, To int64 }

func rfc3339(ns int64) string {
	if ns == 0 {
		return ""
	}
	return time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
}
