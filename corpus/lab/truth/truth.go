// Package truth holds the records in which a guest of the lab and its peer
// say what really happened: what witness writes and the comparison reads.
package truth

import "time"

// Names of the files in a truth directory.
const (
	FilesName     = "files.jsonl"     // FileNote
	ProcessesName = "processes.jsonl" // Life
	PeerName      = "peer.jsonl"      // Conversation
	PointsName    = "points.jsonl"    // Point
	RecordingName = "recording"       // what was recorded, and what of it must be found; shell assignments
	HiddenName    = "hidden.jsonl"    // Hidden; absent where nothing was
)

// PointName is the file with the [Process] lines of a point.
func PointName(point string) string { return "point-" + point + ".jsonl" }

// ManifestName is the file with the [ManifestEntry] lines of a point.
func ManifestName(point string) string { return "manifest-" + point + ".jsonl" }

// Point is a moment at which the guest stood still and looked at itself; a
// memory snapshot was taken before it went on.
type Point struct {
	Name      string    `json:"name"`
	Began     time.Time `json:"began,omitzero"` // when it began to look at the tree; absent in older records
	Time      time.Time `json:"time"`           // when it had, and looked at /proc; the guest's wall clock
	Monotonic int64     `json:"monotonic"`      // the same in the guest's CLOCK_MONOTONIC, ns
}

// Hidden is a process that the guest is about to be kept from seeing, as /proc
// still describes it.
type Hidden struct {
	Monotonic int64 `json:"monotonic"`
	Process
}

// Process is one process as the guest's /proc describes it.
type Process struct {
	PID          int      `json:"pid"`
	PPID         int      `json:"ppid"`
	Comm         string   `json:"comm"`
	Args         []string `json:"args"`
	Exe          string   `json:"exe"` // with " (deleted)" as the kernel appends it
	CWD          string   `json:"cwd"`
	UID          int      `json:"uid"`
	GID          int      `json:"gid"`
	State        string   `json:"state"`
	Threads      int      `json:"threads"`
	KernelThread bool     `json:"kernel_thread"`
	StartTicks   uint64   `json:"start_ticks"` // since boot, 1/100 s
	Sockets      []Socket `json:"sockets,omitempty"`
	Files        []string `json:"files,omitempty"` // of regular files, by descriptor
}

// Socket is an internet socket a process holds.
type Socket struct {
	Proto  string `json:"proto"`  // tcp, udp
	Local  string `json:"local"`  // address:port
	Remote string `json:"remote"` // address:port
	State  string `json:"state"`  // ESTABLISHED, LISTEN, …
}

// Life is an event in a process's life, from the kernel's process connector.
type Life struct {
	Monotonic int64    `json:"monotonic"` // ns, stamped by the kernel
	Event     string   `json:"event"`     // fork, exec, comm, exit, lost
	PID       int      `json:"pid"`
	TID       int      `json:"tid"` // differs from pid for threads
	PPID      int      `json:"ppid,omitempty"`
	Comm      string   `json:"comm,omitempty"`
	Exe       string   `json:"exe,omitempty"`
	Args      []string `json:"args,omitempty"`
	Status    uint32   `json:"status,omitempty"` // wait status, on exit
}

// FileState is what lstat says, and the content's hash or the link's target.
type FileState struct {
	Inode  uint64    `json:"inode"`
	Mode   uint32    `json:"mode"` // with the type bits, as in st_mode
	UID    uint32    `json:"uid"`
	GID    uint32    `json:"gid"`
	Links  uint64    `json:"links"`
	Size   int64     `json:"size"`
	Mtime  time.Time `json:"mtime"`
	Ctime  time.Time `json:"ctime"`
	SHA256 string    `json:"sha256,omitempty"`
	Target string    `json:"target,omitempty"`
}

// FileNote is one look at a file, before or after a step changed it.
type FileNote struct {
	Time      time.Time  `json:"time"`
	Monotonic int64      `json:"monotonic"`
	When      string     `json:"when"` // before, after
	Op        string     `json:"op,omitempty"`
	Path      string     `json:"path"`
	OldPath   string     `json:"old_path,omitempty"`
	Shell     int        `json:"shell"`           // the pid whose child did it
	State     *FileState `json:"state,omitempty"` // absent: no such file
	// Commits is the file system's own count of its commits, as its kernel words it:
	// the same in two notes when none ended in between. Absent in older records, and
	// where the kernel does not say.
	Commits string `json:"commits,omitempty"`
}

// ManifestEntry is one name of the root file system.
type ManifestEntry struct {
	Path string `json:"path"`
	FileState
}

// Conversation is what the peer knows of one exchange with a guest.
type Conversation struct {
	Time     time.Time `json:"time"`             // when it began, dom0's wall clock
	Service  string    `json:"service"`          // http, dns, tls, shell, sink
	Proto    string    `json:"proto"`            // tcp, udp
	Guest    string    `json:"guest"`            // the guest's address and port
	Peer     string    `json:"peer"`             // the peer's address and port
	Received int64     `json:"received"`         // payload bytes from the guest
	Sent     int64     `json:"sent"`             // payload bytes to the guest
	Opened   bool      `json:"opened,omitempty"` // the conversation goes on; its last line comes when it ends
	Detail   string    `json:"detail,omitempty"`
}
