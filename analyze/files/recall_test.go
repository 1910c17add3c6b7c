package files

import (
	"encoding/json"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// spell is the time for which an object had a name.
type spell struct {
	object   *thing
	path     string
	from, to sysop // the calls that made and ended it; to.T1 is 0 where nothing did
	dragged  bool  // it came by the renaming of a directory above
}

// thing is a file, directory or link of the workload.
type thing struct {
	dir    bool
	maybe  bool // the call that would have made it failed, and may have made it all the same
	spells []*spell
	calls  []did
}

// namespace is what the system calls made of the names.
type namespace struct {
	now      map[string]*spell
	at       map[string][]*spell // that the path ever had
	calls    map[int][]*spell    // by index of the call: from, to of a rename; what was made or ended
	logs     map[string]bool     // the last parts of all paths
	hidden   map[string]string   // what libfuse renamed: the path before, by the one after
	pathless []int64             // calls that set an attribute of a directory the log does not name
}

func follow(ops []sysop) *namespace {
	n := &namespace{now: map[string]*spell{}, at: map[string][]*spell{}, calls: map[int][]*spell{}, logs: map[string]bool{}}
	for i, o := range ops {
		for _, p := range []string{o.Path, o.Src, o.Dst} {
			if p != "" {
				n.logs[path.Base(p)] = true
			}
		}
		switch o.Op {
		case "create", "mkdir", "symlink":
			s := n.now[o.Path]
			switch {
			case s == nil || s.object.maybe && o.Err == nil:
				s = n.born(o)
				if o.Err == nil {
					n.calls[i] = []*spell{s}
				}
			default:
				n.note(o)
			}
		case "link", "rename", "exchange", "unlink", "rmdir":
			if o.Err == nil {
				n.calls[i] = n.name(o)
			}
		default:
			n.note(o)
		}
	}
	return n
}

// name follows a call that gives or takes names.
func (n *namespace) name(o sysop) []*spell {
	switch o.Op {
	case "link":
		n.directory(o.Dst, o.T0)
		n.begin(n.touch(o.Src, o.Op, o.T0), o.Dst, o)
	case "rename":
		n.directory(o.Dst, o.T0)
		from := n.known(o.Src)
		if x := n.now[o.Dst]; x != nil && x.object == from.object {
			return nil // two names of one file: rename(2) leaves both
		}
		n.touch(o.Src, o.Op, o.T0)
		if x := n.now[o.Dst]; x != nil {
			n.touch(o.Dst, o.Op, o.T0)
			n.end(x, o)
		}
		return []*spell{from, n.move(from, o.Dst, o)}
	case "exchange":
		a, b := n.known(o.Src), n.known(o.Dst)
		if a.object == b.object {
			return nil
		}
		n.touch(o.Src, o.Op, o.T0)
		n.touch(o.Dst, o.Op, o.T0)
		n.end(a, o)
		n.end(b, o)
		n.begin(a.object, o.Dst, o)
		n.begin(b.object, o.Src, o)
	case "unlink", "rmdir":
		x := n.known(o.Path)
		n.touch(o.Path, o.Op, o.T0)
		n.end(x, o)
		return []*spell{x}
	}
	return nil
}

func (n *namespace) begin(x *thing, path string, o sysop) *spell {
	s := &spell{object: x, path: path, from: o}
	x.spells = append(x.spells, s)
	n.now[path] = s
	n.at[path] = append(n.at[path], s)
	return s
}

func (n *namespace) end(s *spell, o sysop) {
	s.to = o
	delete(n.now, s.path)
}

// known is the spell of a path, from before the trace if no call made it.
func (n *namespace) known(path string) *spell {
	if s := n.now[path]; s != nil {
		return s
	}
	return n.begin(&thing{}, path, sysop{})
}

func (n *namespace) move(s *spell, to string, o sysop) *spell {
	n.end(s, o)
	t := n.begin(s.object, to, o)
	if !s.object.dir {
		return t
	}
	for _, p := range slices.Sorted(maps.Keys(n.now)) {
		if rest, below := strings.CutPrefix(p, s.path+"/"); below {
			x := n.now[p]
			n.end(x, o)
			n.begin(x.object, to+"/"+rest, o).dragged = true
		}
	}
	return t
}

// commitTime is when the first and the last block of a commit of everything were
// written.
type commitTime struct{ first, last int64 }

// guard is how long before the first block of a commit a call must have returned to
// be surely of that commit, ns: the kernel closes the transaction and writes ordered
// data before.
const guard = int64(3e8)

// crossed reports whether a name surely was on the disk: a commit of everything began
// after the call that made it and was over before the one that ended it.
func (s *spell) crossed(commits []commitTime) bool { return parted(s.from, s.to, commits) }

// parted reports whether the disk surely had heard of the first call and not yet of the
// second, which may be of none.
func parted(a, b sysop, commits []commitTime) bool {
	k := sort.Search(len(commits), func(k int) bool { return commits[k].first >= a.T1+guard })
	return k < len(commits) && (b.T1 == 0 || commits[k].last < b.T0)
}

// alone reports whether nothing but the call gave or took a name of the object between
// the same two commits. Else the disk hears of several names that went and several that
// came, and not of which replaced which.
func (x *thing) alone(o sysop, commits []commitTime) bool {
	for _, s := range x.spells {
		for _, b := range []sysop{s.from, s.to} {
			if named := slices.Contains([]string{b.Path, b.Src, b.Dst}, s.path); !named || b.T0 == o.T0 {
				continue
			}
			if !parted(b, o, commits) && !parted(o, b, commits) {
				return false
			}
		}
	}
	return true
}

// logged is a path as the workload logs it: each byte that is no UTF-8 replaced.
func logged(path string) string {
	var b strings.Builder
	for _, r := range path {
		b.WriteRune(r)
	}
	return b.String()
}

// recall counts the creations, renames and removals that surely crossed a commit,
// those of them that show, each by one event at its path, and those whose interval
// holds the call. The others were followed, within the same commit, by a call that
// moved the same timestamp.
func recall(t testing.TB, ops []sysop, n *namespace, events []Event, commits []commitTime, journaled bool) {
	by := map[Op]map[string][]*Event{}
	for i := range events {
		e := &events[i]
		if by[e.Op] == nil {
			by[e.Op] = map[string][]*Event{}
		}
		e.Path, e.OldPath = logged(e.Path), logged(e.OldPath)
		by[e.Op][e.Path] = append(by[e.Op][e.Path], e)
	}
	dated := 0
	take := func(o sysop, path, old string, kinds ...Op) bool {
		for _, k := range kinds {
			for i, e := range by[k]["/"+path] {
				if (old == "" || e.OldPath == "/"+old) && int64(e.TimeUpper) >= o.T0-5e7 {
					if int64(e.TimeLower) <= o.T1+5e7 {
						dated++
					}
					by[k]["/"+path] = slices.Delete(by[k]["/"+path], i, i+1)
					return true
				}
			}
		}
		return false
	}
	expected, shown := map[string]int{}, map[string]int{}
	for i, o := range ops {
		ss := n.calls[i]
		if len(ss) == 0 {
			continue
		}
		kind, want, ok := o.Op, false, false
		switch o.Op {
		case "create", "mkdir", "symlink":
			kind = "create"
			for _, s := range ss[0].object.spells {
				want = want || s.crossed(commits)
			}
			for _, s := range ss[0].object.spells {
				ok = ok || want && take(o, s.path, "", OpCreate, OpMkdir, OpSymlink)
			}
		case "rename":
			want = ss[0].crossed(commits) && ss[1].crossed(commits) && !ss[0].dragged
			if ok = want && take(o, o.Dst, o.Src, OpRename); want && !ss[0].object.alone(o, commits) {
				kind = "rename, one of several,"
				ok = ok || take(o, o.Dst, "", OpRename, OpLink)
			}
		default:
			kind = "unlink"
			want = ss[0].crossed(commits) && len(commits) > 0 && o.T1+guard < commits[len(commits)-1].first
			ok = want && take(o, o.Path, "", OpDelete, OpUnlink, OpRmdir)
		}
		if !want {
			continue
		}
		expected[kind]++
		if ok {
			shown[kind]++
		} else if expected[kind]-shown[kind] <= 3 {
			b, _ := json.Marshal(o)
			t.Logf("does not show: %s", b)
		}
	}
	all, seen := 0, 0
	for _, kind := range slices.Sorted(maps.Keys(expected)) {
		t.Logf("recall of %s: %d of %d that crossed a commit, %.2f%%", kind, shown[kind], expected[kind], 100*float64(shown[kind])/float64(max(expected[kind], 1)))
		all, seen = all+expected[kind], seen+shown[kind]
	}
	t.Logf("recall: %d of %d, %.2f%%; the intervals of %d hold the call", seen, all, 100*float64(seen)/float64(max(all, 1)), dated)
	require.NotZero(t, all)
	if journaled {
		require.Equal(t, expected["rename"], shown["rename"])
	}
	require.GreaterOrEqual(t, seen*100, all*95, "recall")
}
