package fs

// Shown and Zeroed compare two mappings of one file, which are ascending, below size.
//
// Shown are bytes that were mapped and read as zeros, and do not any more: Linux puts
// data into unwritten extents and marks them when it is on the disk
// (ext4_convert_unwritten_extents, xfs_iomap_write_unwritten), as a rule in a later
// transaction than the one that mapped them. Zeroed are bytes that had blocks and read
// as zeros now.
func Shown(old, now []Extent, size uint64) []Range {
	return compare(old, now, size, func(o, n *Extent) bool {
		return o.unwritten() && n.data() && o.Physical == n.Physical
	})
}

// Zeroed is explained at Shown.
func Zeroed(old, now []Extent, size uint64) []Range {
	return compare(old, now, size, func(o, n *Extent) bool { return o.data() && (n == nil || n.unwritten()) })
}

// A nil extent is a hole.
func (e *Extent) unwritten() bool { return e != nil && e.State == ExtentUnwritten }
func (e *Extent) data() bool      { return e != nil && e.State == ExtentData }

// compare lists where is holds of the extents that two mappings have: cut so that both
// cover the same bytes.
func compare(old, now []Extent, size uint64, is func(o, n *Extent) bool) []Range {
	var out []Range
	for at := uint64(0); at < size; {
		o, oldEnd := from(&old, at)
		n, nowEnd := from(&now, at)
		end := min(oldEnd, nowEnd, size)
		if is(o, n) {
			out = append(out, Range{Off: at, Len: end - at})
		}
		at = end
	}
	return JoinRanges(out)
}

// from is what a mapping has from a byte on, and where that ends. What lies before is
// dropped from the mapping.
func from(extents *[]Extent, at uint64) (*Extent, uint64) {
	for len(*extents) > 0 && (*extents)[0].Logical+(*extents)[0].Length <= at {
		*extents = (*extents)[1:]
	}
	if len(*extents) == 0 {
		return nil, ^uint64(0)
	}
	e := (*extents)[0]
	if e.Logical > at {
		return nil, e.Logical
	}
	e.Physical += at - e.Logical
	return &e, e.Logical + e.Length
}
