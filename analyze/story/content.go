package story

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/xentape/xentape/analyze/files"
	"github.com/xentape/xentape/analyze/process"
	"github.com/xentape/xentape/format"
)

// Way is which way content was carried.
type Way uint8

// The ways.
const (
	WayUnknown Way = iota
	ToGuest
	FromGuest
)

// carried ties a file's content to what a connection carried.
type carried struct {
	t   *Transfer
	way Way
	// blocks of the file, of the number looked at, equal blocks carried; of is 0
	// when the whole content is equal.
	blocks, of int
}

func (c *carried) whole() bool { return c.of == 0 }

// maxCarried bounds the connections named for one content: a web server sends
// the same page again and again.
const maxCarried = 8

// telling is the size, in bytes, below which equal content says nothing: empty
// and tiny files equal by nature.
const telling = 16

// contents indexes what connections carried.
type contents struct {
	whole  map[string][]*Transfer
	blocks map[[32]byte][]blockOf
	way    map[*Transfer]Way
}

// blockOf is the n-th block of what was carried.
type blockOf struct {
	t *Transfer
	n int
}

// maxSame bounds the places one block is remembered at: one that is everywhere
// tells nothing.
const maxSame = 16

func (j *joiner) indexContents() {
	x := &contents{whole: map[string][]*Transfer{}, blocks: map[[32]byte][]blockOf{}, way: map[*Transfer]Way{}}
	for i := range j.in.Transfers {
		t := &j.in.Transfers[i]
		x.way[t] = j.wayOf(t)
		if t.Complete && t.Size >= telling && t.SHA256 != "" {
			x.whole[t.SHA256] = append(x.whole[t.SHA256], t)
		}
		if x.way[t] == FromGuest {
			continue
		}
		for n, sum := range t.Blocks {
			if sum != ([32]byte{}) && len(x.blocks[sum]) < maxSame {
				x.blocks[sum] = append(x.blocks[sum], blockOf{t, n})
			}
		}
	}
	j.contents = x
}

// wayOf tells whether the guest was the receiver: by the direction the recorder
// saw packets in, or by the addresses of the guest's own sockets.
func (j *joiner) wayOf(t *Transfer) Way {
	i, ok := j.connByID[t.UID]
	if !ok {
		return WayUnknown
	}
	began := j.began(i)
	switch {
	case began == WayUnknown:
		return WayUnknown
	case (began == FromGuest) == t.IsOrig:
		return FromGuest
	}
	return ToGuest
}

// began tells who began a connection: FromGuest the guest, ToGuest its peer.
func (j *joiner) began(i int) Way {
	c := j.in.Conns[i]
	orig, resp := j.sockets.guest[c.OrigH.Unmap()], j.sockets.guest[c.RespH.Unmap()]
	switch {
	case c.OrigSent == format.FromGuest, c.OrigSent == format.DirectionUnknown && orig && !resp:
		return FromGuest
	case c.OrigSent == format.ToGuest, c.OrigSent == format.DirectionUnknown && resp && !orig:
		return ToGuest
	}
	return WayUnknown
}

// ofFile finds the connections that carried the content of a file event. What
// came to the guest is on the tape before the write that stored it; of several
// the latest is first.
func (x *contents) ofFile(f *FileEvent) (came, went []carried) {
	for _, t := range x.whole[f.SHA256New] {
		switch x.way[t] {
		case FromGuest:
			went = append(went, carried{t: t, way: FromGuest})
		default:
			if t.First <= f.Last {
				came = append(came, carried{t: t, way: x.way[t]})
			}
		}
	}
	if len(came) == 0 {
		came = x.ofBlocks(f.Blocks, f.Last)
	}
	return latest(came), latest(went)
}

func latest(cs []carried) []carried {
	slices.SortStableFunc(cs, func(a, b carried) int {
		return cmp.Or(cmp.Compare(b.blocks, a.blocks), cmp.Compare(b.t.Last, a.t.Last), cmp.Compare(a.t.UID, b.t.UID))
	})
	return cs[:min(len(cs), maxCarried)]
}

// ofBlocks finds connections that carried some of the blocks, in their place
// with respect to each other: content stored in part, or overwritten in part
// since. before bounds the records.
func (x *contents) ofBlocks(blocks []files.Block, before uint64) []carried {
	type alignment struct {
		t     *Transfer
		shift int64
	}
	hits := map[alignment]int{}
	for _, b := range blocks {
		for _, o := range x.blocks[b.Sum] {
			if o.t.First <= before {
				hits[alignment{o.t, int64(b.Off/files.BlockSize) - int64(o.n)}]++
			}
		}
	}
	best := map[*Transfer]int{}
	for a, n := range hits {
		best[a.t] = max(best[a.t], n)
	}
	var out []carried
	for t, n := range best {
		out = append(out, carried{t: t, way: x.way[t], blocks: n, of: len(blocks)})
	}
	return latest(out)
}

// text says what was carried, for the sentence about a file or program.
func (c *carried) text() string {
	what, verb := "content", "came over"
	if !c.whole() {
		what = fmt.Sprintf("%d of %d blocks", c.blocks, c.of)
	}
	switch c.way {
	case FromGuest:
		verb = "left over"
	case WayUnknown:
		verb = "equal to what was carried over"
	}
	s := what + " " + verb + " " + c.t.UID
	if c.t.URL != "" {
		s += " (" + c.t.URL + ")"
	}
	return s
}

// evidence names the packets.
func (j *joiner) carriedEvidence(c *carried) Evidence {
	t := c.t
	e := Evidence{Stream: "network", Records: records(t.First, t.Last)}
	if i, ok := j.connByID[t.UID]; ok {
		e.Stream = orDefault(j.in.Conns[i].Stream, "network")
	}
	if c.whole() {
		e.Detail = fmt.Sprintf("connection %s carried the same %d bytes, sha256 %s", t.UID, t.Size, t.SHA256)
	} else {
		e.Detail = fmt.Sprintf("connection %s carried %d of the %d blocks of %d bytes, equal by sha256", t.UID, c.blocks, c.of, files.BlockSize)
	}
	return e
}

// joinContents ties file events and programs to connections.
func (j *joiner) joinContents() {
	j.indexContents()
	for i := range j.in.Files {
		j.cameFrom[i], j.wentOut[i] = j.contents.ofFile(&j.in.Files[i])
		for _, c := range j.wentOut[i] {
			if k, ok := j.connByID[c.t.UID]; ok {
				j.sent[k] = append(j.sent[k], i)
			}
		}
	}
	for i := range j.in.Recovered {
		r := &j.in.Recovered[i]
		id := identity{r.PID, r.Start, r.Task}
		j.programs[id] = r
		for _, t := range j.contents.whole[r.SHA256] {
			if j.contents.way[t] != FromGuest {
				j.fetched[id] = append(j.fetched[id], carried{t: t, way: j.contents.way[t]})
			}
		}
		if len(j.fetched[id]) == 0 {
			j.fetched[id] = j.contents.ofBlocks(r.Blocks, j.snapshot(r.Snapshot).Last)
		}
		j.fetched[id] = latest(j.fetched[id])
	}
	j.joinPrograms()
}

// joinPrograms ties processes to the file events that made what they run.
func (j *joiner) joinPrograms() {
	made := map[fileKey][]int{}
	for i := range j.in.Files {
		f := &j.in.Files[i]
		if f.Op == "create" || f.Op == "write" {
			made[fileKey{f.Disk, f.Inode}] = append(made[fileKey{f.Disk, f.Inode}], i)
		}
	}
	for i := range j.in.Processes {
		p := &j.in.Processes[i]
		if p.ExeFile == nil || p.ExeFile.Device == "" {
			continue
		}
		id := identify(p)
		var came []carried
		for _, disk := range diskNames(p.ExeFile.Device) {
			for _, k := range made[fileKey{disk, p.ExeFile.Inode}] {
				f := &j.in.Files[k]
				if !f.onDevice(p.ExeFile.Device) || !j.before(f, p) {
					continue
				}
				j.ranFrom[id] = append(j.ranFrom[id], f)
				if c := j.cameFrom[k]; len(c) > 0 {
					came = c
				}
			}
		}
		if len(j.fetched[id]) == 0 {
			j.fetched[id] = came
		}
	}
}

// before: the file was made before the last snapshot that shows the process.
// Inode numbers are used again: a file made later is another one.
func (j *joiner) before(f *FileEvent, p *process.Process) bool {
	n := j.snapshot(p.LastSnapshot)
	return n == nil || n.Realtime == 0 || f.Lower == 0 || f.Lower <= n.Realtime
}

// blocksOf hashes the blocks of content of which some may be missing.
func blocksOf(b []byte, have func(block int) bool) []files.Block {
	var out []files.Block
	for n := 0; n*files.BlockSize < len(b); n++ {
		if !have(n) {
			continue
		}
		var block [files.BlockSize]byte
		k := copy(block[:], b[n*files.BlockSize:])
		if !same(block[:k]) {
			out = append(out, files.Block{Off: uint64(n) * files.BlockSize, Sum: sha256.Sum256(block[:])})
		}
	}
	return out
}

// same: one byte value throughout, as in the padding of every program.
func same(b []byte) bool {
	for _, c := range b {
		if c != b[0] {
			return false
		}
	}
	return true
}
