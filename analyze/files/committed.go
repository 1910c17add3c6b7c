package files

// committer is a filesystem whose journal holds blocks that have not reached
// their place.
type committer interface {
	// Committed visits them, ascending, by their offset in the volume in bytes.
	Committed(visit func(off uint64, data []byte))
}

// Committed visits what the journals of the disk have committed and the guest
// has not written to its place yet, by offset on the disk in bytes. The disk with
// these laid over it is the live view as an image: tools that do not replay a
// journal read from it what the guest saw. Names that only an ext4 fast commit or
// a btrfs tree log tells are not among them; they have no blocks yet.
func (a *Analyzer) Committed(visit func(off uint64, data []byte)) {
	a.begin()
	for _, v := range a.volumes {
		c, ok := v.fs.(committer)
		if !ok {
			continue
		}
		c.Committed(func(off uint64, data []byte) {
			v.dev.Place(off, uint64(len(data)), func(at, disk, n uint64) { visit(disk, data[at-off:at-off+n]) })
		})
	}
}
