package files

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// names is the directory tree of one volume: which names an inode has, and what
// a directory holds. It holds no attributes; those are read when asked for.
type names struct {
	root    fs.ID
	of      map[fs.ID][]place
	entries map[fs.ID]map[string]fs.ID
	// last is the path that a directory without a name had, while names are still in
	// it: without a journal they may go after it.
	last map[fs.ID]string
	// doubted are names that wait to be known as their inode's: they count, but others
	// are not found by them while it has any other, or the path it had.
	doubted map[place]bool
	// twice counts names that a directory has more than once: without a journal an entry
	// that moves to another block may be there before it is gone from the one it had.
	twice map[place]int
	// rivals are others that the disk names so at the same place, and how often: of a file
	// that replaces another one of the two may be written first. See decide.
	rivals map[place]map[fs.ID]int
}

// place is one name of an inode.
type place struct {
	parent fs.ID
	name   string
}

func newNames(root fs.ID) *names {
	return &names{root: root, of: map[fs.ID][]place{}, entries: map[fs.ID]map[string]fs.ID{}, last: map[fs.ID]string{}, doubted: map[place]bool{}, twice: map[place]int{}, rivals: map[place]map[fs.ID]int{}}
}

func (t *names) add(d fs.Dirent) {
	dir := t.entries[d.Parent]
	if dir == nil {
		dir = map[string]fs.ID{}
		t.entries[d.Parent] = dir
	}
	p := place{d.Parent, d.Name}
	if old, ok := dir[d.Name]; ok {
		if old == d.Child {
			t.twice[p]++
			return
		}
		t.yield(old, p) // until it is decided, the later wins
	}
	if n := t.rivals[p][d.Child]; n > 0 {
		t.twice[p] = n
		t.retire(d.Child, p)
	}
	dir[d.Name] = d.Child
	t.of[d.Child] = append(t.of[d.Child], p)
}

// yield makes the one that has a name a rival for it.
func (t *names) yield(id fs.ID, p place) {
	if t.rivals[p] == nil {
		t.rivals[p] = map[fs.ID]int{}
	}
	t.rivals[p][id] = 1 + t.twice[p]
	t.forget(id, p)
}

// retire takes a rival away.
func (t *names) retire(id fs.ID, p place) {
	if delete(t.rivals[p], id); len(t.rivals[p]) == 0 {
		delete(t.rivals, p)
	}
}

// rival reports whether another file has a name that the disk gives this one, too.
func (t *names) rival(d fs.Dirent) bool { return t.rivals[place{d.Parent, d.Name}][d.Child] > 0 }

// decide gives each name that the disk gives several files to the one that changed last:
// the disk shows each as it was when it had the name, and to take a name from a file
// changes that file, as giving it one does. That is told by the inodes as they are, and
// not by the order in which they were written.
func (t *names) decide(stat func(fs.ID) (fs.Attr, error)) {
	for p, ids := range t.rivals {
		dir := t.entries[p.parent]
		have, taken := dir[p.name]
		best := claim(have, stat)
		for id := range ids {
			if a := claim(id, stat); !taken || claims(best, a) < 0 {
				best, taken = a, true
			}
		}
		if best.ID == have {
			continue
		}
		if _, was := dir[p.name]; was {
			t.yield(have, p)
			delete(dir, p.name)
		}
		n := ids[best.ID]
		t.retire(best.ID, p)
		t.add(fs.Dirent{Parent: p.parent, Name: p.name, Child: best.ID})
		if n > 1 {
			t.twice[p] = n - 1
		}
	}
}

// claim is what decides whether an inode has a name that others have, too.
func claim(id fs.ID, stat func(fs.ID) (fs.Attr, error)) fs.Attr {
	a, err := stat(id)
	if err != nil {
		return fs.Attr{ID: id, CTime: fs.NoTime, BTime: fs.NoTime}
	}
	a.ID = id
	return a
}

// claims orders claims, the best last.
func claims(a, b fs.Attr) int {
	return cmp.Or(cmp.Compare(a.CTime, b.CTime), cmp.Compare(a.BTime, b.BTime), a.ID.Compare(b.ID))
}

// once takes one of several entries of a name away, if there are several.
func (t *names) once(d fs.Dirent) bool {
	p := place{d.Parent, d.Name}
	if t.rivals[p][d.Child] > 1 {
		t.rivals[p][d.Child]--
		return true
	}
	if t.twice[p] == 0 || t.entries[d.Parent][d.Name] != d.Child {
		return false
	}
	if t.twice[p]--; t.twice[p] == 0 {
		delete(t.twice, p)
	}
	return true
}

func (t *names) remove(d fs.Dirent) {
	if ps := t.sure(d.Child); len(t.entries[d.Child]) > 0 && len(ps) == 1 && ps[0] == (place{d.Parent, d.Name}) {
		t.last[d.Child] = t.at(d)
	}
	if dir := t.entries[d.Parent]; dir[d.Name] == d.Child {
		delete(dir, d.Name)
		if len(dir) == 0 {
			delete(t.entries, d.Parent)
			delete(t.last, d.Parent)
		}
	}
	t.forget(d.Child, place{d.Parent, d.Name})
	t.retire(d.Child, place{d.Parent, d.Name})
}

// doubt marks a name that its inode does not bear out yet; was is the path that a
// directory had until then, if it went.
func (t *names) doubt(d fs.Dirent, was string) {
	t.doubted[place{d.Parent, d.Name}] = true
	if was != "" && len(t.entries[d.Child]) > 0 {
		t.last[d.Child] = was
	}
}

// trust makes a name that was doubted its inode's newest.
func (t *names) trust(d fs.Dirent) {
	p := place{d.Parent, d.Name}
	if !t.doubted[p] {
		return
	}
	delete(t.doubted, p)
	delete(t.last, d.Child)
	if ps := t.of[d.Child]; len(ps) > 1 {
		i := slices.Index(ps, p)
		t.of[d.Child] = append(slices.Delete(ps, i, i+1), p)
	}
}

func (t *names) forget(id fs.ID, p place) {
	delete(t.doubted, p)
	delete(t.twice, p)
	ps := t.of[id]
	if i := slices.Index(ps, p); i >= 0 {
		ps = slices.Delete(ps, i, i+1)
	}
	if len(ps) == 0 {
		delete(t.of, id)
	} else {
		t.of[id] = ps
	}
}

// maxDepth bounds the walk to the root: a broken tree may have a loop.
const maxDepth = 1024

// path of an inode by its first name in order; its number when it has none. What
// others lie below is a directory and has one name: where a disk without a journal
// still shows an older one too, the newest is right.
func (t *names) path(id fs.ID) string { return t.climb(id, 0) }

func (t *names) climb(id fs.ID, depth int) string {
	if id == t.root {
		return "/"
	}
	ps := t.sure(id)
	if len(ps) == 0 {
		if p, ok := t.last[id]; ok {
			return p
		}
		ps = t.of[id]
	}
	if len(ps) == 0 || depth > maxDepth {
		return fmt.Sprintf("<inode %v>", id)
	}
	first := ps[len(ps)-1]
	if len(ps) > 1 && depth == 0 {
		first = slices.MinFunc(ps, func(a, b place) int { return cmp.Or(a.parent.Compare(b.parent), cmp.Compare(a.name, b.name)) })
	}
	return join(t.climb(first.parent, depth+1), first.name)
}

// sure are the names of an inode that do not wait to be known as its own.
func (t *names) sure(id fs.ID) []place {
	ps := t.of[id]
	if len(t.doubted) > 0 && slices.ContainsFunc(ps, func(p place) bool { return t.doubted[p] }) {
		return slices.DeleteFunc(slices.Clone(ps), func(p place) bool { return t.doubted[p] })
	}
	return ps
}

// adrift is the directory at the top of what an inode lies in, when that is not the
// root: one whose own name has not reached the disk.
func (t *names) adrift(id fs.ID) (top fs.ID, yes bool) {
	for range maxDepth {
		if id == t.root {
			return id, false
		}
		ps := t.sure(id)
		if len(ps) == 0 {
			if _, gone := t.last[id]; gone {
				return id, false
			}
			ps = t.of[id]
		}
		if len(ps) == 0 {
			return id, true
		}
		id = ps[len(ps)-1].parent
	}
	return id, false
}

// settled reports whether the path of a directory rests on no name that is doubted.
func (t *names) settled(id fs.ID) bool {
	for range maxDepth {
		ps := t.sure(id)
		if _, gone := t.last[id]; id == t.root || gone && len(ps) == 0 {
			return true
		}
		if len(ps) == 0 {
			return false
		}
		id = ps[len(ps)-1].parent
	}
	return true
}

// at is the path of one name.
func (t *names) at(d fs.Dirent) string { return join(t.climb(d.Parent, 1), d.Name) }

func join(dir, name string) string {
	if strings.HasSuffix(dir, "/") {
		return dir + name
	}
	return dir + "/" + name
}

// lookup finds the inode of an absolute path.
func (t *names) lookup(path string) (fs.ID, bool) {
	id := t.root
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." {
			continue
		}
		next, ok := t.entries[id][part]
		if !ok {
			return fs.ID{}, false
		}
		id = next
	}
	return id, true
}

// walk visits every path from the root in order. Directories already above
// themselves are not entered again.
func (t *names) walk(visit func(path string, id fs.ID)) {
	visit("/", t.root)
	t.below(t.root, "/", map[fs.ID]bool{t.root: true}, visit)
}

func (t *names) below(dir fs.ID, path string, above map[fs.ID]bool, visit func(string, fs.ID)) {
	es := t.entries[dir]
	list := make([]string, 0, len(es))
	for name := range es {
		list = append(list, name)
	}
	slices.Sort(list)
	for _, name := range list {
		id, p := es[name], join(path, name)
		visit(p, id)
		if len(t.entries[id]) > 0 && !above[id] && len(above) < maxDepth {
			above[id] = true
			t.below(id, p, above, visit)
			delete(above, id)
		}
	}
}
