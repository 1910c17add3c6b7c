package story

import (
	"slices"

	"github.com/xentape/xentape/analyze/network"
	"github.com/xentape/xentape/analyze/process"
)

// joiner holds the relations between the three streams.
type joiner struct {
	in       *Input
	sockets  *sockets
	uses     uses
	contents *contents

	owners   []*Owner                     // of each connection; nil unknown
	writers  []*Owner                     // of each file event; nil unknown
	cameFrom map[int][]carried            // file event → what brought the same content to the guest
	wentOut  map[int][]carried            // file event → what took the same content away
	sent     map[int][]int                // connection → the file events whose content it took away
	connsOf  map[identity][]*network.Conn // process → its connections
	ranFrom  map[identity][]*FileEvent    // process → the file events that made what it runs
	byPID    map[int][]*process.Process   // in order of start
	connByID map[string]int               // uid → index
	procs    map[identity]*process.Process
	programs map[identity]*Recovered // process → its deleted program, saved from memory
	fetched  map[identity][]carried  // process → what brought the program it runs
	started  map[identity]*request   // process → the connection it was started for
	rotated  map[string]bool         // changes of logs that are log rotation
	told     map[string]bool         // files that a rule found something about
	oddities []Oddity                // of the analyzers, and of the join itself
	missing  map[int]*Snapshot       // connection → the snapshot that should show its socket, and does not
}

func join(in *Input) *joiner {
	j := &joiner{in: in, sockets: indexSockets(in.Snapshots), uses: indexFiles(in.Snapshots),
		owners: make([]*Owner, len(in.Conns)), writers: make([]*Owner, len(in.Files)),
		cameFrom: map[int][]carried{}, wentOut: map[int][]carried{}, sent: map[int][]int{},
		connsOf: map[identity][]*network.Conn{}, ranFrom: map[identity][]*FileEvent{},
		byPID: map[int][]*process.Process{}, connByID: map[string]int{}, procs: map[identity]*process.Process{},
		programs: map[identity]*Recovered{}, fetched: map[identity][]carried{}, started: map[identity]*request{}, missing: map[int]*Snapshot{}, told: map[string]bool{}, rotated: rotations(in)}
	for i := range in.Processes {
		p := &in.Processes[i]
		j.byPID[p.PID] = append(j.byPID[p.PID], p)
		j.procs[identify(p)] = p
	}
	for i, c := range in.Conns {
		j.connByID[c.UID] = i
		if o := j.sockets.owner(c); o != nil {
			j.owners[i] = o
			j.connsOf[o.key] = append(j.connsOf[o.key], c)
		}
	}
	for i := range in.Files {
		j.writers[i] = j.uses.writer(&in.Files[i])
	}
	j.oddities = slices.Clone(in.Oddities)
	j.joinContents()
	j.joinRequests()
	j.joinSilence()
	j.joinNames()
	return j
}

// diskNames gives the disks a device name may lie on: itself, and itself without
// a partition number.
func diskNames(device string) []string {
	base := device
	for len(base) > 0 && base[len(base)-1] >= '0' && base[len(base)-1] <= '9' {
		base = base[:len(base)-1]
	}
	if base == device || base == "" {
		return []string{device}
	}
	return []string{device, base}
}

// parent returns the process that was p's parent, by number and time.
func (j *joiner) parent(p *process.Process) *process.Process {
	var best *process.Process
	for _, q := range j.byPID[p.PPID] {
		if q.StartTime <= p.StartTime {
			best = q
		}
	}
	return best
}
