package xenabi

import "encoding/binary"

// PoDTargetSize is sizeof(struct xen_pod_target) (public/memory.h).
const PoDTargetSize = 40

// PoDTarget is what a populate-on-demand guest has and lacks, in pages.
type PoDTarget struct {
	Total   uint64 // pages populated
	Cache   uint64 // pages in the pool that stands behind the entries
	Entries uint64 // pages promised and not populated; touching one takes it from the pool
}

// PutPoDQuery writes the question.
func PutPoDQuery(b []byte, domain uint16) {
	clear(b[:PoDTargetSize])
	binary.LittleEndian.PutUint16(b[32:], domain)
}

// PoDQueryDomain reads the domain of the question back.
func PoDQueryDomain(b []byte) uint16 { return binary.LittleEndian.Uint16(b[32:]) }

// ParsePoDTarget reads the answer.
func ParsePoDTarget(b []byte) PoDTarget {
	le := binary.LittleEndian
	return PoDTarget{Total: le.Uint64(b[8:]), Cache: le.Uint64(b[16:]), Entries: le.Uint64(b[24:])}
}

// Put writes the answer.
func (t PoDTarget) Put(b []byte) {
	le := binary.LittleEndian
	le.PutUint64(b[8:], t.Total)
	le.PutUint64(b[16:], t.Cache)
	le.PutUint64(b[24:], t.Entries)
}
