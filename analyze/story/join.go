package story

import (
	"github.com/xentape/xentape/analyze/network"
	"github.com/xentape/xentape/analyze/process"
)

// joiner holds the relations between the three streams.
type joiner struct {
	in      *Input
	sockets *sockets
	uses    uses

	owners   []*Owner                     // of each connection; nil unknown
	writers  []*Owner                     // of each file event; nil unknown
	cameFrom map[int][]*Transfer          // file event → what was carried over a connection with the same content
	connsOf  map[identity][]*network.Conn // process → its connections
	ranFrom  map[identity][]*FileEvent    // process → the file events that made what it runs
	byPID    map[int][]*process.Process   // in order of start
	connByID map[string]int               // uid → index
	carried  map[string][]*Transfer       // uid → transfers
	procs    map[identity]*process.Process
	programs map[identity]*Recovered  // process → its deleted program, saved from memory
	fetched  map[identity][]*Transfer // process → the transfers that carried what it runs
}

func join(in *Input) *joiner {
	j := &joiner{in: in, sockets: indexSockets(in.Snapshots), uses: indexFiles(in.Snapshots),
		owners: make([]*Owner, len(in.Conns)), writers: make([]*Owner, len(in.Files)),
		cameFrom: map[int][]*Transfer{}, connsOf: map[identity][]*network.Conn{}, ranFrom: map[identity][]*FileEvent{},
		byPID: map[int][]*process.Process{}, connByID: map[string]int{}, carried: map[string][]*Transfer{}, procs: map[identity]*process.Process{}, programs: map[identity]*Recovered{}, fetched: map[identity][]*Transfer{}}
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
	j.joinFiles()
	return j
}

// joinFiles ties file events to the processes that wrote or run them, and to the
// transfers that carried the same content. Equal SHA-256 of more than a handful
// of bytes is no chance; empty and tiny files are left out, they equal by nature.
func (j *joiner) joinFiles() {
	const telling = 16
	bySum := map[string][]*Transfer{}
	for i := range j.in.Transfers {
		t := &j.in.Transfers[i]
		j.carried[t.UID] = append(j.carried[t.UID], t)
		if t.Complete && t.Size >= telling && t.SHA256 != "" {
			bySum[t.SHA256] = append(bySum[t.SHA256], t)
		}
	}
	for i := range j.in.Recovered {
		r := &j.in.Recovered[i]
		id := identity{r.PID, r.Start, r.Task}
		j.programs[id] = r
		if r.SHA256 != "" {
			j.fetched[id] = append(j.fetched[id], bySum[r.SHA256]...)
		}
	}
	made := map[fileKey][]*FileEvent{}
	for i := range j.in.Files {
		f := &j.in.Files[i]
		j.writers[i] = j.uses.writer(f)
		if f.SHA256New != "" {
			j.cameFrom[i] = bySum[f.SHA256New]
		}
		if f.Op == "create" || f.Op == "write" {
			made[fileKey{f.Disk, f.Inode}] = append(made[fileKey{f.Disk, f.Inode}], f)
		}
	}
	for i := range j.in.Processes {
		p := &j.in.Processes[i]
		if p.ExeFile == nil || p.ExeFile.Device == "" {
			continue
		}
		for _, disk := range diskNames(p.ExeFile.Device) {
			for _, f := range made[fileKey{disk, p.ExeFile.Inode}] {
				j.ranFrom[identify(p)] = append(j.ranFrom[identify(p)], f)
				if t := bySum[f.SHA256New]; f.SHA256New != "" && len(j.fetched[identify(p)]) == 0 {
					j.fetched[identify(p)] = append(j.fetched[identify(p)], t...)
				}
			}
		}
	}
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
