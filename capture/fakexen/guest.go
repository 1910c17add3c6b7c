package fakexen

import (
	"bytes"

	"github.com/xentape/xentape/capture/internal/xenabi"
)

// GuestWrite is the guest storing into one of its frames (gfn, or pfn for PV). A
// paused guest does not run: the write is dropped and false returned.
func (h *Host) GuestWrite(domain uint16, frame uint64, data []byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.domains[domain]
	if d == nil || d.pauses > 0 || d.dying {
		return false
	}
	f := d.machine(frame)
	copy(d.frames[f], data)
	if d.dirty != nil {
		d.dirty[f] = true
	}
	return true
}

// BackendWrite is a backend storing through a grant that stays mapped: it goes on
// while the guest is paused, and log-dirty does not see it.
func (h *Host) BackendWrite(domain uint16, frame uint64, data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.domains[domain]
	copy(d.frames[d.machine(frame)], data)
}

// Grant lets a backend write a frame.
func (h *Host) Grant(domain uint16, frame uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.domains[domain]
	d.grants = append(d.grants, xenabi.GrantEntry{Flags: xenabi.GrantPermitAccess | xenabi.GrantWriting, Frame: d.machine(frame)})
}

func (d *Domain) machine(frame uint64) uint64 {
	if d.HVM {
		return frame
	}
	return d.p2mOf(frame)
}

// Page is a copy of a frame's content, nil when there is none.
func (h *Host) Page(domain uint16, frame uint64) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.domains[domain]
	return bytes.Clone(d.frames[d.machine(frame)])
}

// Populate gives an HVM domain one more frame; Depopulate takes one, as a balloon does.
func (h *Host) Populate(domain uint16, frame uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.domains[domain].frames[frame] = pattern(frame)
}

// Depopulate takes a frame from an HVM domain.
func (h *Host) Depopulate(domain uint16, frame uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.domains[domain].frames, frame)
}

// Balloon is the guest giving up what it was promised, but for as many frames.
func (h *Host) Balloon(domain uint16, frames uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.domains[domain].PoDEntries = frames
}

// Break makes a frame unreadable, as failed memory is.
func (h *Host) Break(domain uint16, frame uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.domains[domain]
	d.broken[d.machine(frame)] = true
}

// EditSharedInfo lets a guest lie in its shared info frame.
func (h *Host) EditSharedInfo(domain uint16, edit func(r *xenabi.P2MRoot)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.domains[domain]
	r := xenabi.ParseP2MRoot(d.frames[d.sharedInfo])
	edit(&r)
	r.Put(d.frames[d.sharedInfo])
}

// StealTracking is another tool saving the guest: log-dirty off, on, off.
func (h *Host) StealTracking(domain uint16) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.domains[domain].dirty = nil
}

// Tracking says whether log-dirty is on.
func (h *Host) Tracking(domain uint16) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.domains[domain].dirty != nil
}

// Suspend is the guest suspending itself to be saved or migrated; Resume, that it goes
// on as the same domain.
func (h *Host) Suspend(domain uint16) { h.suspend(domain, true) }

// Resume ends what Suspend began.
func (h *Host) Resume(domain uint16) { h.suspend(domain, false) }

func (h *Host) suspend(domain uint16, on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.domains[domain].suspended = on
}

// Built is the toolstack letting a domain run for the first time.
func (h *Host) Built(domain uint16) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.domains[domain].Building = false
}

// Kill makes the domain die; it stays listed as dying.
func (h *Host) Kill(domain uint16) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.domains[domain].dying = true
}

// Remove makes the domain gone.
func (h *Host) Remove(domain uint16) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.domains, domain)
}

// Add makes a new domain appear.
func (h *Host) Add(d *Domain) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.domains[d.ID] = d
}

// State of a domain as a test wants to see it.
type State struct {
	Pauses      int // pause count now
	TimesPaused int
	Crashed     bool
	Scanned     int  // frames that were looked up
	Mapped      int  // frames of the whole host mapped now
	TableGrown  bool // the grant table was asked for as if it was larger
}

// State says how a domain is.
func (h *Host) State(domain uint16) State {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.domains[domain]
	return State{Pauses: d.pauses, TimesPaused: d.paused, Crashed: d.crashed, Scanned: d.scans, Mapped: h.mapped, TableGrown: d.tableGrown}
}
