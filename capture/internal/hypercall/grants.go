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
	g := Grants{Version: version, Table: make([]byte, 0, frames*xenabi.PageSize)}
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

// grantShape asks how many frames the table has now and what its entries look
// like. The resource's own size is what it may grow to, and mapping a frame beyond
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
	if err := ask(xenabi.GrantOpGetVersion); err == nil && le.Uint32(b[xenabi.GrantVersionVersion:]) == 2 {
		version = 2
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
