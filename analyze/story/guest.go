package story

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/xentape/xentape/analyze/files"
	"github.com/xentape/xentape/analyze/process"
	"github.com/xentape/xentape/replay"
)

// compareClocks measures the guest's wall clock against the recording host's at
// the first snapshot that shows both. One measurement serves the whole tape, so
// that what has been told of a growing tape does not move.
func (e *Engine) compareClocks(i replay.MemoryInfo) {
	if e.clock != nil || i.Realtime == 0 {
		return
	}
	h, ok := e.procs.Host(i.Snapshot)
	if !ok {
		return
	}
	now, err := time.Parse(time.RFC3339Nano, h.Clock)
	booted, berr := time.Parse(time.RFC3339Nano, h.Booted)
	if err != nil || berr != nil {
		return
	}
	// The kernel's clock in memory is that of its last timer tick; a running copy
	// is of some moment within the copy.
	const tick = int64(10 * time.Millisecond)
	u := tick
	if c := i.Conditions; !c.Paused || c.Fuzzy {
		u += c.CopyEnd - c.CopyStart
	}
	e.clock = &GuestClock{Snapshot: i.Snapshot, Ahead: now.UnixNano() - i.Realtime, Uncertainty: u}
	e.boot = booted.UnixNano() - e.clock.Ahead
}

// maxRecovered bounds a program saved from the page cache, in bytes.
const maxRecovered = 64 << 20

// recover saves the programs of running processes whose file was deleted, and
// that no earlier snapshot gave whole.
func (e *Engine) recover(s *Snapshot) {
	for i := range s.Processes {
		p := &s.Processes[i]
		if p.ExeFile == nil || !p.ExeFile.Deleted || e.have(p) {
			continue
		}
		r, err := e.recoverOne(s, p)
		if err != nil {
			continue // the program is not in memory any more; the process tells it was deleted
		}
		e.recovered = append(e.recovered, *r)
	}
}

// have: the program of this process, or of another with the same file, is saved.
func (e *Engine) have(p *process.Process) bool {
	for i := range e.recovered {
		r := &e.recovered[i]
		if r.PID == p.PID && r.Start == p.StartTime && r.Missing == 0 {
			return true
		}
	}
	return false
}

func (e *Engine) recoverOne(s *Snapshot, p *process.Process) (*Recovered, error) {
	f, err := e.procs.PageCache(p.ExeFile.Major, p.ExeFile.Minor, p.ExeFile.Inode)
	if err != nil {
		return nil, err
	}
	if f.Size <= 0 || f.Size > maxRecovered {
		return nil, errors.New("too large to keep")
	}
	r := &Recovered{PID: p.PID, Start: p.StartTime, Task: p.TaskAddress, Snapshot: s.Number, Path: p.Exe, Size: uint64(f.Size), Data: make([]byte, f.Size)}
	missing := f.Missing()
	for _, m := range missing {
		r.Missing += m.Count
	}
	if r.Missing == r.Size {
		return nil, errors.New("nothing of it is in memory")
	}
	if err := f.Pages(func(off uint64, b []byte) error { copy(r.Data[off:], b); return nil }); err != nil {
		return nil, err
	}
	r.Blocks = blocksOf(r.Data, func(n int) bool {
		for _, m := range missing {
			if at := uint64(n) * files.BlockSize; at+files.BlockSize > m.Start && at < m.Start+m.Count {
				return false
			}
		}
		return true
	})
	if r.Missing == 0 {
		sum := sha256.Sum256(r.Data)
		r.SHA256 = hex.EncodeToString(sum[:])
	}
	return r, nil
}
