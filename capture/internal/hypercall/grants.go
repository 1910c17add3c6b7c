package hypercall

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/xentape/xentape/capture/internal/xenabi"
)

// maxGrantFrames bounds a grant table: 64 MiB of entries.
const maxGrantFrames = 16 << 10

// Grants is a copy of a guest's grant table.
type Grants struct {
	Version int    // 1 or 2: the layout of the entries
	Table   []byte // whole frames
}

// Grants copies the guest's grant table.
func (x *Xen) Grants(domain uint16) (Grants, error) {
	frames, version, err := x.grantShape(domain)
	if err != nil {
		return Grants{}, err
	}
	g := Grants{Version: max(1, version), Table: make([]byte, 0, frames*xenabi.PageSize)}
	frame := make([]byte, xenabi.PageSize)
	for i := range frames {
		m, err := x.port.MapResource(domain, xenabi.ResourceGrantTable, xenabi.ResourceGrantTableShared, uint32(i), 1)
		if err != nil {
			return Grants{}, err
		}
		if err := errors.Join(m.Copy(0, frame), m.Unmap()); err != nil {
			return Grants{}, fmt.Errorf("grant table frame %d of domain %d: %w", i, domain, err)
		}
		g.Table = append(g.Table, frame...)
	}
	return g, nil
}

// GrantFrames says where the guest has its grant table among its own frames: by frame
// of the table, or an invalid number for one that is not mapped.
func (x *Xen) GrantFrames(domain uint16) ([]uint64, error) {
	frames, version, err := x.grantShape(domain)
	if err != nil || version == 0 || frames == 0 {
		return nil, err // of a table that is not in use the question would make one
	}
	le := binary.LittleEndian
	x.mu.Lock()
	defer x.mu.Unlock()
	frames = min(frames, len(x.arg.Bytes)/8)
	b := x.ctl.Bytes[:xenabi.GrantSetupSize]
	clear(b)
	le.PutUint16(b, domain)
	le.PutUint32(b[xenabi.GrantSetupFrames:], uint32(frames))
	le.PutUint64(b[xenabi.GrantSetupList:], x.arg.Addr)
	if _, err := x.port.Call(xenabi.HypercallGrantTableOp, xenabi.GrantOpSetupTable, x.ctl.Addr, 1); err != nil {
		return nil, fmt.Errorf("frames of the grant table of domain %d: %w", domain, err)
	}
	if status := int16(le.Uint16(b[xenabi.GrantSetupStatus:])); status != 0 {
		return nil, fmt.Errorf("frames of the grant table of domain %d: status %d", domain, status)
	}
	out := make([]uint64, frames)
	for i := range out {
		out[i] = le.Uint64(x.arg.Bytes[8*i:])
	}
	return out, nil
}

// grantShape asks how many frames the table has now and what its entries look
// like; version 0 is that of a table the guest has not begun to use. The resource's own size is what it may grow to, and mapping a frame beyond
// what it has makes it grow: so ask first.
func (x *Xen) grantShape(domain uint16) (frames, version int, err error) {
	le := binary.LittleEndian
	x.mu.Lock()
	defer x.mu.Unlock()
	b := x.arg.Bytes[:xenabi.GrantOpQuerySizeSize]
	ask := func(cmd uint64) error {
		clear(b)
		le.PutUint16(b, domain)
		_, err := x.port.Call(xenabi.HypercallGrantTableOp, cmd, x.arg.Addr, 1)
		return err
	}
	if err := ask(xenabi.GrantOpQuerySize); err != nil {
		return 0, 0, fmt.Errorf("grant table size of domain %d: %w", domain, err)
	}
	if status := int16(le.Uint16(b[xenabi.GrantQueryStatus:])); status != 0 {
		return 0, 0, fmt.Errorf("grant table size of domain %d: status %d", domain, status)
	}
	frames = int(min(le.Uint32(b[xenabi.GrantQueryFrames:]), maxGrantFrames))
	version = 1
	if err := ask(xenabi.GrantOpGetVersion); err == nil {
		version = int(min(le.Uint32(b[xenabi.GrantVersionVersion:]), 2))
	}
	return frames, version, nil
}

// Writable calls yield with each frame that a backend may write, in table order,
// with repetitions. The numbers are the guest's own claims.
func (g *Grants) Writable(yield func(frame uint64)) {
	size, parse := xenabi.GrantEntryV1Size, xenabi.ParseGrantV1
	if g.Version == 2 {
		size, parse = xenabi.GrantEntryV2Size, xenabi.ParseGrantV2
	}
	for off := 0; off+size <= len(g.Table); off += size {
		if e := parse(g.Table[off:]); e.Writable() {
			yield(e.Frame)
		}
	}
}
