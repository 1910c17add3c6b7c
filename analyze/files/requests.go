package files

import (
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/format"
)

func (a *Analyzer) request(r *format.DiskRequest) error {
	if r.Op == format.DiskRead {
		return nil
	}
	if r.Flags&format.DiskReadback != 0 {
		return a.readback(r)
	}
	if r.Flags&format.DiskApplied != 0 {
		return a.apply(r, fs.Stamp{Seq: r.Seq, Time: r.Time})
	}
	for _, old := range a.pending.Add(r) {
		a.lost(Problem{Kind: "gap", Record: old.Seq, Offset: old.Offset, Length: old.Length, Text: fmt.Sprintf("request %d never completed and too many are in flight: taken as written with unknown content", old.ID)})
		if err := a.apply(old, fs.Stamp{Seq: r.Seq, Time: r.Time}); err != nil {
			return err
		}
	}
	return nil
}

// completion applies what the request asked, at the moment it became true. A
// request that failed changed nothing we could rely on.
func (a *Analyzer) completion(c *format.DiskCompletion) error {
	for _, r := range a.pending.Take(c.ID) {
		if c.Status != 0 {
			continue
		}
		if err := a.apply(r, fs.Stamp{Seq: r.Seq, Time: c.Time}); err != nil {
			return err
		}
	}
	return nil
}

// apply stores a completed request and tells the filesystems.
func (a *Analyzer) apply(r *format.DiskRequest, at fs.Stamp) error {
	a.reconcile(at)
	if !a.settled && at.Time-a.lastOp.Time > quiet {
		a.settle(a.lastOp)
	}
	w := fs.Write{Stamp: at, Off: r.Offset, Len: r.Length}
	switch r.Op {
	case format.DiskWrite:
		w.Op = fs.OpWrite
		w.Data = r.Data
		if !r.Captured() {
			w.Op, w.Data = fs.OpUnknown, nil
			a.lost(Problem{Kind: "gap", Record: r.Seq, Offset: r.Offset, Length: r.Length, Text: "write whose content was not captured"})
		}
	case format.DiskWriteZeroes:
		w.Op = fs.OpZero
	case format.DiskDiscard, format.DiskSecureErase:
		w.Op = fs.OpDiscard
	case format.DiskFlush:
		a.settle(at)
		return nil
	default:
		return nil
	}
	if w.Len == 0 {
		if r.Flags&format.DiskPreflush != 0 {
			a.settle(at)
		}
		return nil
	}
	return a.write(&w)
}

// write passes one write through the volumes it touches.
func (a *Analyzer) write(w *fs.Write) error {
	if w.Off+w.Len < w.Off || w.Off >= a.disk.Size() {
		a.problem(Problem{Kind: "corrupt", Record: w.Seq, Offset: w.Off, Length: w.Len, Text: "write beyond the end of the disk"})
		return nil
	}
	a.now = w.Time
	var pieces [][]fs.Write
	for _, v := range a.volumes {
		ps := v.dev.Split(w)
		pieces = append(pieces, ps)
		for i := range ps {
			v.prepare(&ps[i])
		}
	}
	if err := a.disk.Apply(w); err != nil {
		return fmt.Errorf("disk %s, record %d: %w", a.o.Disk, w.Seq, err)
	}
	a.lastOp, a.settled = w.Stamp, false
	for i, v := range a.volumes {
		for k := range pieces[i] {
			v.apply(&pieces[i][k])
			v.journaled(&pieces[i][k])
		}
	}
	if a.touchesLayout(w) {
		a.relayout(w.Stamp)
	}
	return nil
}

func (a *Analyzer) settle(at fs.Stamp) {
	a.settled = true
	for _, v := range a.volumes {
		if v.fs != nil {
			v.fs.Settle(at, v)
		}
	}
}

// conclude tells of names whose other half, without a journal, may yet come.
func (a *Analyzer) conclude(at fs.Stamp) {
	for _, v := range a.volumes {
		if v.fs != nil {
			v.conclude(at)
		}
	}
}

// gap makes what may have been missed unknown: to the end of the tape, or until
// the recorder reads it back.
func (a *Analyzer) gap(g *format.Gap) error {
	at := fs.Stamp{Seq: g.Seq, Time: g.Time}
	a.settle(at)
	text := "records of the disk are missing"
	if g.Detail != "" {
		text += ": " + g.Detail
	}
	extents := g.Extents
	if g.Count == format.Unknown && len(extents) == 0 {
		extents = []format.Extent{{Start: 0, Count: a.disk.Size()}}
	}
	if a.begun || len(extents) == 0 {
		a.problem(Problem{Kind: "gap", Record: g.Seq, Text: text})
	}
	for _, v := range a.volumes {
		clear(v.known) // what changed of it is not known
	}
	for _, e := range extents {
		if e.Start >= a.disk.Size() || e.Count == 0 {
			continue
		}
		w := fs.Write{Stamp: at, Op: fs.OpUnknown, Off: e.Start, Len: min(e.Count, a.disk.Size()-e.Start)}
		if err := a.disk.Apply(&w); err != nil {
			return err
		}
		if !a.begun {
			a.lost(Problem{Kind: "gap", Record: g.Seq, Offset: w.Off, Length: w.Len, Text: text})
		}
	}
	return nil
}

// readback stores content the recorder read to close a gap. It is knowledge, not
// an operation of the guest.
func (a *Analyzer) readback(r *format.DiskRequest) error {
	w := fs.Write{Stamp: fs.Stamp{Seq: r.Seq, Time: r.Time}, Op: fs.OpWrite, Off: r.Offset, Len: uint64(len(r.Data)), Data: r.Data}
	a.resync = true
	return a.disk.Apply(&w)
}
