// Package process answers which processes ran in a guest, from snapshots of its
// memory: the tree at each snapshot, what became of each process between them,
// and where the kernel's own accounts of them disagree.
package process

import "fmt"

// Grade is how far the presence of a process can be relied on.
type Grade string

// The grades.
const (
	Seen         Grade = "seen"         // in the kernel's own lists
	Hidden       Grade = "hidden"       // alive, and missing from lists it must be in
	Residue      Grade = "residue"      // exited; what is left of it in freed memory
	Inconsistent Grade = "inconsistent" // lists disagree, which the copy's circumstances may explain
)

// Address prints as kernel addresses are written.
type Address uint64

// MarshalText writes 0x and lower-case hexadecimal digits.
func (a Address) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%#x", uint64(a)), nil }

// Process is one process: what is known of it, as of the last snapshot that
// has it.
type Process struct {
	PID          int      `json:"pid"`
	PPID         int      `json:"ppid"`
	Comm         string   `json:"comm"`
	Args         []string `json:"args"`
	Env          []string `json:"env"`
	Exe          string   `json:"exe"` // "" for kernel threads and zombies
	Cwd          string   `json:"cwd"`
	Root         string   `json:"root"`
	UID          uint32   `json:"uid"`
	GID          uint32   `json:"gid"`
	StartTime    uint64   `json:"start_time"` // nanoseconds since the guest booted (CLOCK_BOOTTIME)
	Started      string   `json:"started"`    // the same by the guest's own wall clock, RFC 3339; "" when that cannot be read
	Threads      int      `json:"threads"`
	State        string   `json:"state"` // letter as in /proc/PID/stat
	KernelThread bool     `json:"kernel_thread"`
	NSPID        []int    `json:"ns_pid"` // pid in each nested namespace, outermost first
	Container    string   `json:"container"`
	FirstSeen    string   `json:"first_seen"` // time of the snapshot: RFC 3339, or #N where that is unknown
	LastSeen     string   `json:"last_seen"`
	ExitSeen     string   `json:"exit_seen"` // first snapshot without it; "" while it lives
	Sockets      []Socket `json:"sockets"`
	Files        []File   `json:"files"`
	Snapshot     int      `json:"snapshot"` // number of the snapshot this describes
	TaskAddress  Address  `json:"task_address"`
	Views        []View   `json:"views"`
	Grade        Grade    `json:"grade"`

	// Hex has the bytes of those of comm, args, env, exe, cwd and root that are no
	// UTF-8, in hexadecimal, by field; args and env with a NUL behind each, as in
	// /proc/PID/cmdline.
	Hex map[string]string `json:"hex,omitempty"`

	ThreadList  []Thread     `json:"thread_list"`
	HeldBy      int          `json:"held_by,omitempty"` // the leader has exited: memory and files are those of this thread
	Credentials *Credentials `json:"credentials,omitempty"`
	Namespaces  Namespaces   `json:"namespaces"`
	Cgroup      string       `json:"cgroup"`
	ExeFile     *FileID      `json:"exe_file,omitempty"`
	Maps        []Map        `json:"maps,omitempty"`
	ExitCode    uint64       `json:"exit_code,omitempty"` // as wait(2) gives it; of zombies and residue
	Changes     []Change     `json:"changes,omitempty"`   // what became different between snapshots
	Incomplete  []string     `json:"incomplete,omitempty"`
	Evidence    []Evidence   `json:"evidence"`

	FirstSnapshot int `json:"first_snapshot"`
	LastSnapshot  int `json:"last_snapshot"`
	ExitSnapshot  int `json:"exit_snapshot,omitempty"`

	torn bool // its list of threads could not be read whole
}

// Thread is one thread of a process.
type Thread struct {
	TID         int     `json:"tid"`
	Comm        string  `json:"comm"`
	State       string  `json:"state"`
	StartTime   uint64  `json:"start_time"`
	TaskAddress Address `json:"task_address"`
}

// Credentials are the real, effective, saved and file-system ids, and the
// capability sets as bits.
type Credentials struct {
	UID         [4]uint32 `json:"uid"` // real, effective, saved, file system
	GID         [4]uint32 `json:"gid"`
	Effective   Address   `json:"cap_effective"`
	Permitted   Address   `json:"cap_permitted"`
	Inheritable Address   `json:"cap_inheritable"`
	Bounding    Address   `json:"cap_bounding"`
	Ambient     Address   `json:"cap_ambient"`
	UserNS      uint64    `json:"user_ns"`
	Groups      []uint32  `json:"groups"` // supplementary
}

// Namespaces are the inode numbers that /proc/PID/ns shows, 0 where the process
// has none (zombies).
type Namespaces struct {
	PID    uint64 `json:"pid"`
	Net    uint64 `json:"net"`
	Mount  uint64 `json:"mnt"`
	UTS    uint64 `json:"uts"`
	IPC    uint64 `json:"ipc"`
	Cgroup uint64 `json:"cgroup"`
	Time   uint64 `json:"time"` // 0 before 5.6
	Host   string `json:"hostname"`
}

// FileID names a file within a guest: the device of its file system and the
// inode number there, as a disk image of that device has them.
type FileID struct {
	Major      uint32  `json:"major"`
	Minor      uint32  `json:"minor"`
	Inode      uint64  `json:"inode"`
	FileSystem string  `json:"fs"`
	Device     string  `json:"device,omitempty"` // name of the block device: "xvda1"
	Deleted    bool    `json:"deleted"`
	Size       int64   `json:"size"`
	Links      uint32  `json:"links"`
	Mode       uint32  `json:"mode"` // st_mode
	Address    Address `json:"inode_address"`
}

// File is an open file descriptor.
type File struct {
	FD    int    `json:"fd"`
	Path  string `json:"path"` // as /proc/PID/fd shows it
	Flags uint32 `json:"flags"`
	Pos   int64  `json:"pos"`
	FileID
}

// Socket is a socket a process holds. Addresses and ports are empty for
// families without them.
type Socket struct {
	FD          int     `json:"fd"`
	Family      string  `json:"family"` // inet, inet6, unix, netlink, packet, …
	Type        string  `json:"type"`   // stream, dgram, raw, seqpacket
	Proto       string  `json:"proto"`
	ProtoNumber int     `json:"proto_number"` // of IP, of netlink, or an ethertype
	Local       string  `json:"local"`
	LocalPort   uint16  `json:"local_port"`
	Remote      string  `json:"remote"`
	RemotePort  uint16  `json:"remote_port"`
	State       string  `json:"state"`
	Path        string  `json:"path,omitempty"` // unix; @ starts an abstract name
	Peer        uint64  `json:"peer,omitempty"` // unix: inode of the other end
	Inode       uint64  `json:"inode"`
	NetNS       uint64  `json:"netns"`
	Interface   int     `json:"ifindex,omitempty"`
	PortID      uint32  `json:"port_id,omitempty"` // netlink
	Address     Address `json:"sock_address"`
}

// Map is one region of a process's address space.
type Map struct {
	Start  Address `json:"start"`
	End    Address `json:"end"`
	Perms  string  `json:"perms"` // as in /proc/PID/maps: rwxp
	Offset uint64  `json:"offset"`
	Path   string  `json:"path,omitempty"`
	Exec   bool    `json:"anon_exec,omitempty"` // executable without a file behind it
	*FileID
}

// Change is a difference of one process between two snapshots.
type Change struct {
	Snapshot int    `json:"snapshot"` // the first to show it
	Field    string `json:"field"`
	From     string `json:"from"`
	To       string `json:"to"`
}

// Evidence is where something was read: a kernel object's virtual and
// guest-physical address.
type Evidence struct {
	Object   string  `json:"object"`
	Virtual  Address `json:"va"`
	Physical Address `json:"pa"`
}
