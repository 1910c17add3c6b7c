package process

// View is one way to enumerate processes.
type View string

// allViews is the order in which they are written.
var allViews = []View{TaskList, PIDIndex, Children, Scan, Threads, RunQueue, AddrSpace, PeerCred, FileOwner, Previous}

// The views. Every live process is in the first four; the others list some.
const (
	TaskList    View = "task-list"    // init_task.tasks
	PIDIndex    View = "pid-idr"      // the pid namespace's index of numbers
	Children    View = "children"     // its parent's list of children
	Scan        View = "scan"         // memory searched for task structures
	Threads     View = "threads"      // a thread names it as its group's leader
	ThreadGroup View = "thread-group" // of threads: their process's own list
	RunQueue    View = "runqueue"     // a CPU runs it, or is about to
	AddrSpace   View = "mm-owner"     // the owner of an address space the kernel keeps a list of
	PeerCred    View = "socket-peer"  // a socket that is open names it: its maker, listener or other end
	FileOwner   View = "file-owner"   // a file that is open sends it signals (F_SETOWN)
	Previous    View = "previous"     // the snapshot before
)
