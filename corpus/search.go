package corpus

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/xentape/xentape/corpus/rewrite"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// kept is a choice of what stays on a tape.
type kept struct {
	records   map[uint64]bool // packets, disk requests and completions by number
	snapshots map[uint32]bool
	pages     map[pageID]bool
}

type pageID struct {
	snapshot uint32
	page     uint64
}

func (k kept) clone() kept {
	return kept{maps.Clone(k.records), maps.Clone(k.snapshots), maps.Clone(k.pages)}
}

func (k kept) keep() rewrite.Keep {
	return rewrite.Keep{
		Record: func(r format.Record) bool {
			switch r.(type) {
			case *format.Packet, *format.DiskRequest, *format.DiskCompletion:
				return k.records[r.Header().Seq]
			}
			return true
		},
		Snapshot: func(s format.SnapshotInfo) bool { return k.snapshots[s.Begin.ID] },
		Page:     func(snapshot uint32, page uint64) bool { return k.pages[pageID{snapshot, page}] },
	}
}

// often is a number of reads at which a page is left alone.
const often = 5

// search is one run of a Minimizer.
type search struct {
	m          *Minimizer
	ctx        context.Context
	from, work string
	tries      int // left
	taken      int
	keys       map[string]int // the wanted findings
	others     map[string]int // the rest of the story's
	kept       kept
	all        Minimized // what the tape has

	streams map[format.StreamID][]uint64 // records that can go, by stream
	packets map[uint64]bool
	images  []format.SnapshotInfo
	reads   map[int][]pageID // the pages by how often they are read, up to often
}

// look learns what the tape holds, which findings are wanted, and what is read.
func (s *search) look() (err error) {
	if s.keys, s.others, err = s.m.findings(s.ctx, s.from); err != nil {
		return err
	}
	for k := range s.keys {
		if what, ok := strings.CutPrefix(k, "nothing of "); ok {
			return fmt.Errorf("%s: no finding of %s to keep", s.from, what)
		}
	}
	if err := s.records(); err != nil {
		return err
	}
	var lock sync.Mutex
	reads := map[pageID]int{}
	err = s.m.Trace(s.ctx, s.from, func(snapshot uint32, page uint64) {
		lock.Lock()
		reads[pageID{snapshot, page}]++
		lock.Unlock()
	})
	if err != nil {
		return err
	}
	s.reads = map[int][]pageID{}
	for id, n := range reads {
		s.kept.pages[id] = true
		if n = min(n, often); n < often {
			s.reads[n] = append(s.reads[n], id)
		}
	}
	for _, pages := range s.reads {
		slices.SortFunc(pages, func(a, b pageID) int {
			return cmp.Or(cmp.Compare(a.snapshot, b.snapshot), cmp.Compare(a.page, b.page))
		})
	}
	return nil
}

func (s *search) records() error {
	tape, err := replay.Open(s.from, replay.Options{})
	if err != nil {
		return err
	}
	defer tape.Close()
	r := tape.Reader()
	s.kept = kept{map[uint64]bool{}, map[uint32]bool{}, map[pageID]bool{}}
	s.streams, s.packets = map[format.StreamID][]uint64{}, map[uint64]bool{}
	for rec, err := range r.Records(format.Query{}) {
		if err != nil {
			return err
		}
		h := rec.Header()
		switch rec.(type) {
		case *format.Packet:
			s.packets[h.Seq] = true
			s.all.Packets++
		case *format.DiskRequest, *format.DiskCompletion:
			s.all.Requests++
		default:
			continue
		}
		s.kept.records[h.Seq] = true
		s.streams[h.Stream] = append(s.streams[h.Stream], h.Seq)
	}
	s.images = r.Snapshots()
	for _, i := range s.images {
		s.kept.snapshots[i.Begin.ID] = true
		image, err := r.Snapshot(i.Begin.ID)
		if err != nil {
			return err
		}
		for _, e := range image.ExtentsOf(format.PageData) {
			s.all.Pages += int(e.Count)
		}
	}
	return nil
}

// reduce takes away as much as it can, the largest pieces first.
func (s *search) reduce() error {
	if ok, err := s.without("what no analyzer reads", func(kept) {}); err != nil {
		return err
	} else if !ok {
		return fmt.Errorf("%s: without the pages that no analyzer reads the findings are others: its analysis is not deterministic", s.from)
	}
	// From the last: what an image is stated against comes before it.
	for _, i := range slices.Backward(s.images) {
		id := i.Begin.ID
		if _, err := s.without(fmt.Sprintf("snapshot %d", id), func(k kept) { delete(k.snapshots, id) }); err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.streams)) {
		if err := pieces(s, fmt.Sprintf("stream %d", id), s.streams[id], 1+len(s.streams[id])/24, func(k kept, seq uint64) { delete(k.records, seq) }); err != nil {
			return err
		}
	}
	// What is read often was followed to, what is read once or twice only looked
	// through: the rarer first.
	for _, c := range slices.Sorted(maps.Keys(s.reads)) {
		pages := slices.DeleteFunc(slices.Clone(s.reads[c]), func(p pageID) bool { return !s.kept.snapshots[p.snapshot] })
		if err := pieces(s, fmt.Sprintf("pages read %d times", c), pages, 1+len(pages)/32, func(k kept, p pageID) { delete(k.pages, p) }); err != nil {
			return err
		}
	}
	return nil
}

// pieces tries to do without all units, then without each half of them, and so on
// down to pieces of grain units.
func pieces[T any](s *search, what string, units []T, grain int, drop func(kept, T)) error {
	if len(units) == 0 {
		return nil
	}
	ok, err := s.without(fmt.Sprintf("%d of %s", len(units), what), func(k kept) {
		for _, u := range units {
			drop(k, u)
		}
	})
	if ok || err != nil || len(units) <= grain {
		return err
	}
	half := len(units) / 2
	if err := pieces(s, what, units[:half], grain, drop); err != nil {
		return err
	}
	return pieces(s, what, units[half:], grain, drop)
}

// without tries a tape with less on it, and stays with it if the findings are all
// there still.
func (s *search) without(what string, drop func(kept)) (bool, error) {
	if s.tries == 0 {
		return false, nil
	}
	s.tries--
	s.taken++
	if s.m.Progress != nil {
		s.m.Progress(s.taken, what)
	}
	k := s.kept.clone()
	drop(k)
	if err := rewrite.File(s.from, s.work, rewrite.Options{Keep: k.keep()}); err != nil {
		return false, err
	}
	ok, err := s.holds(s.work)
	if e := os.Remove(s.work); err == nil {
		err = e
	}
	if ok && err == nil {
		s.kept = k
	}
	return ok, err
}

// holds reports whether a tape shows every wanted finding, and none that the whole
// tape does not give. A tape that cannot be analyzed does not; only the context's end
// is an error.
func (s *search) holds(tape string) (bool, error) {
	got, others, err := s.m.findings(s.ctx, tape)
	if err != nil {
		return false, s.ctx.Err()
	}
	for k, n := range others {
		if n > s.others[k] {
			return false, nil
		}
	}
	return maps.Equal(got, s.keys), nil
}

// count says what is kept of what there was.
func (s *search) count() *Minimized {
	r := s.all
	for seq := range s.kept.records {
		if s.packets[seq] {
			r.PacketsKept++
		} else {
			r.RequestsKept++
		}
	}
	for p := range s.kept.pages {
		if s.kept.snapshots[p.snapshot] {
			r.PagesKept++
		}
	}
	return &r
}
