package process

// View is one way to enumerate processes.
type View string

// The views. Every live process is in the first four; the others list some.
const (
	TaskList    View = "task-list"    // init_task.tasks
	PIDIndex    View = "pid-idr"      // the pid namespace's index of numbers
	Children    View = "children"     // its parent's list of children
	Scan        View = "scan"         // memory searched for task structures
	Threads     View = "threads"      // a thread names it as its group's leader
	ThreadGroup View = "thread-group" // of threads: their process's own list
	RunQueue    View = "runqueue"     // a CPU runs it, or is about to
	Previous    View = "previous"     // the snapshot before
)
