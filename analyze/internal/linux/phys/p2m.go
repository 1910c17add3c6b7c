package phys

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// A PV guest maps all of its memory, frame after frame, where Linux has its direct
// map. Xen gives it no large pages there, so the lowest tables of that map, one for
// each 512 frames, together are the table from guest to machine frames. They are
// found, when a snapshot came without that table, by what they say of themselves:
// the tables above name them by machine frame, and the table in whose range a
// frame lies gives its machine frame. A guest of several GiB whose tables are
// spread over them can stay unknown in parts, and then its kernel is not followed.

const (
	entries = 512

	entryPresent = 1
	entryLarge   = 1 << 7
	entryFrame   = 0x000ffffffffff000
	entryUnused  = 0xf << 59 // those before are for software: Xen marks what the kernel maps by 52

	minMapped = 256 // entries of a lowest table worth trying: most are full
	minTables = 4   // entries of the table above: a guest of 8 MiB

	// A guest's own tables come nowhere near these; ones that were made to be tried
	// in all combinations do.
	maxTables  = 1 << 14
	maxChoices = 1 << 20 // of one table above
	maxTried   = 1 << 26 // of all: some seconds
)

// table is what may be a lowest page table.
type table struct {
	frame uint64
	mfn   [entries]uint64 // 0 where nothing is mapped
}

// mention is an entry of a table that names a machine frame.
type mention struct {
	mfn   uint64
	table int
	slot  uint64
}

// rebuild finds the direct map of a PV guest.
type rebuild struct {
	m        *Memory
	frames   uint64 // of memory, holes counted
	tables   []*table
	upper    []uint64 // frames that may be tables above them
	mentions []mention
	byRest   map[uint64][]int // tables by the last nine bits of their frame
	p2m      map[uint64]uint64
	pfn      map[uint64]uint64 // the reverse
	taken    map[uint64]bool   // ranges of 512 frames that are known
	gib      uint64            // of the direct map that was found first
	frame    uint64            // the table that maps it
	tried    int
}

// rebuildP2M returns guest frames by machine frame.
func (m *Memory) rebuildP2M() ([]machineFrame, error) {
	r := &rebuild{m: m, byRest: map[uint64][]int{}, p2m: map[uint64]uint64{}, pfn: map[uint64]uint64{}, taken: map[uint64]bool{}}
	if err := r.collect(); err != nil {
		return nil, err
	}
	for _, f := range r.upper {
		if r.directMap(f) {
			break
		}
		if r.tried > maxTried {
			return nil, fmt.Errorf("too many of the %d page tables in memory could be of the direct map", len(r.tables))
		}
	}
	r.others()
	if len(r.p2m) == 0 {
		return nil, fmt.Errorf("no direct map among the %d page tables in memory", len(r.tables))
	}
	out := make([]machineFrame, 0, len(r.p2m))
	for pfn, mfn := range r.p2m {
		out = append(out, machineFrame{mfn, pfn})
	}
	return out, nil
}

// mapped reads a page as a page table: how many entries it has, whether the first
// is one of them; ok is false when it cannot be one.
func mapped(p *Page, mfn *[entries]uint64) (n int, ok bool) {
	for i := range mfn {
		v := binary.LittleEndian.Uint64(p[8*i:])
		mfn[i] = 0
		if v == 0 {
			continue
		}
		if v&entryPresent == 0 || v&entryUnused != 0 || v&entryFrame == 0 {
			return 0, false
		}
		mfn[i] = v & entryFrame >> 12
		n++
	}
	return n, true
}

// collect reads all of memory once.
func (r *rebuild) collect() error {
	for _, x := range r.m.src.Extents() {
		r.frames = max(r.frames, x.Start+x.Count)
	}
	// Processes have full tables of their own; a guest with more of them than
	// the direct map needs many times over is none.
	limit := int(min(r.frames/entries*4+1024, maxTables))
	var mfn [entries]uint64
	r.m.Scan(nil, func(frame uint64, p *Page) bool {
		n, ok := mapped(p, &mfn)
		if !ok || n < minTables {
			return true
		}
		if n >= minMapped {
			r.tables = append(r.tables, &table{frame, mfn})
		}
		if mfn[0] != 0 && len(r.upper) < 1<<16 {
			r.upper = append(r.upper, frame)
		}
		return len(r.tables) < limit
	})
	if len(r.tables) >= limit {
		return fmt.Errorf("more than %d page tables", limit)
	}
	for i, t := range r.tables {
		r.byRest[t.frame%entries] = append(r.byRest[t.frame%entries], i)
		for slot, f := range t.mfn {
			if f != 0 {
				r.mentions = append(r.mentions, mention{f, i, uint64(slot)})
			}
		}
	}
	slices.SortFunc(r.mentions, func(a, b mention) int {
		return cmp.Or(cmp.Compare(a.mfn, b.mfn), cmp.Compare(a.table, b.table), cmp.Compare(a.slot, b.slot))
	})
	return nil
}

// of lists the mentions of a machine frame.
func (r *rebuild) of(mfn uint64) []mention {
	i, _ := slices.BinarySearchFunc(r.mentions, mfn, func(x mention, f uint64) int { return cmp.Compare(x.mfn, f) })
	j := i
	for j < len(r.mentions) && r.mentions[j].mfn == mfn {
		j++
	}
	return r.mentions[i:j]
}

// choice is a table that an entry of the table above may lead to, and the table
// that says so: the one in whose range the first lies.
type choice struct{ table, says int }

// directMap tries one frame as the table that maps a GiB of the direct map in
// which page tables lie, and takes what it maps when that fits.
func (r *rebuild) directMap(frame uint64) bool {
	p, err := r.m.Frame(frame)
	if err != nil {
		return false
	}
	var mfn [entries]uint64
	n, _ := mapped(p, &mfn)
	choices := make([][]choice, entries)
	gibs := map[uint64]int{} // in which tables lie that it may lead to
	count := 0
	for i, f := range mfn {
		for _, x := range r.of(f) {
			for _, t := range r.byRest[x.slot] {
				choices[i] = append(choices[i], choice{t, x.table})
				gibs[r.tables[t].frame/entries/entries]++
			}
			count, r.tried = count+len(r.byRest[x.slot]), r.tried+1+len(r.byRest[x.slot])
			if count > maxChoices || r.tried > maxTried {
				return false
			}
		}
	}
	for _, g := range slices.Sorted(maps.Keys(gibs)) {
		if r.tried += count; r.tried > maxTried {
			return false
		}
		left := make([][]choice, entries)
		for i := range choices {
			left[i] = slices.Clone(choices[i])
		}
		// Not all of its tables need lie where it maps; by chance next to none do.
		if found := r.settle(left, g); found >= max(minTables, n/4) && r.takeAll(left, g) {
			r.gib, r.frame = g, frame
			return true
		}
	}
	return false
}

// takeAll takes what the tables left map, all of it or nothing.
func (r *rebuild) takeAll(left [][]choice, g uint64) bool {
	for i, c := range left {
		if len(c) > 0 && !r.take(g*entries+uint64(i), &r.tables[c[0].table].mfn) {
			clear(r.p2m)
			clear(r.pfn)
			clear(r.taken)
			return false
		}
	}
	return true
}

// settle removes the choices that contradict the others, until none does, and
// returns for how many entries one is left.
func (r *rebuild) settle(choices [][]choice, gib uint64) int {
	leads := func(to int, slot uint64) bool {
		r.tried += len(choices[slot])
		return slices.ContainsFunc(choices[slot], func(c choice) bool { return c.table == to })
	}
	for changed := true; changed; {
		changed = false
		for i := range choices {
			if r.tried > maxTried {
				return 0
			}
			left := slices.DeleteFunc(choices[i], func(c choice) bool {
				range512 := r.tables[c.table].frame / entries // in which the table lies
				return range512/entries != gib || !leads(c.says, range512%entries)
			})
			changed = changed || len(left) < len(choices[i])
			choices[i] = left
		}
	}
	n := 0
	for _, c := range choices {
		if len(c) > 0 {
			n++
		}
	}
	return n
}

// take notes what a table of the direct map maps: the frames from 512 n on. It is
// false when these are not all different from others, and within memory.
func (r *rebuild) take(n uint64, t *[entries]uint64) bool {
	for i, mfn := range t {
		pfn := n*entries + uint64(i)
		if was, ok := r.pfn[mfn]; mfn != 0 && (ok && was != pfn || pfn >= r.frames) {
			return false
		}
	}
	for i, mfn := range t {
		if mfn != 0 {
			pfn := n*entries + uint64(i)
			r.p2m[pfn], r.pfn[mfn] = mfn, pfn
		}
	}
	r.taken[n] = true
	return true
}

// others goes on from what is known, by the table above: its entries are the GiB in
// order.
func (r *rebuild) others() {
	own, ok := r.p2m[r.frame]
	if !ok {
		return
	}
	r.m.Scan(nil, func(_ uint64, p *Page) bool {
		var mfn [entries]uint64
		if _, ok := mapped(p, &mfn); !ok || mfn[r.gib] != own {
			return true
		}
		for n := -1; n < len(r.p2m); { // each GiB may have tables in another one
			n = len(r.p2m)
			for g, f := range mfn {
				if frame, ok := r.pfn[f]; ok {
					r.follow(frame, uint64(g)*entries)
				}
			}
		}
		return false
	})
}

// follow takes what a table maps of the direct map, from 512 times n frames on, as
// far as it is known which frames the tables below it are.
func (r *rebuild) follow(frame, n uint64) {
	var middle, low [entries]uint64
	if p, err := r.m.Frame(frame); err == nil {
		mapped(p, &middle)
	}
	for i, f := range middle {
		at, ok := r.pfn[f]
		if !ok || r.taken[n+uint64(i)] {
			continue
		}
		if p, err := r.m.Frame(at); err == nil {
			if _, ok := mapped(p, &low); ok {
				r.take(n+uint64(i), &low)
			}
		}
	}
}
