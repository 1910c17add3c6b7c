package files

import (
	"cmp"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// reconcile takes in content that did not come as operations of the guest, read
// back by the recorder after a gap: each volume is read from the start, and what
// came and went meanwhile becomes one transaction. What changed within files
// that kept their names is not known; the gap's problem says that.
func (a *Analyzer) reconcile(at fs.Stamp) {
	if !a.resync {
		return
	}
	a.resync = false
	for _, v := range a.volumes {
		if v.def.Opaque != "" {
			continue
		}
		if v.fs == nil {
			v.open(at)
			continue
		}
		v.reread(at)
	}
}

// reread replaces a volume's filesystem by one opened on what is there now.
func (v *volumeState) reread(at fs.Stamp) {
	f, err := probe(v.dev, fs.Options{Companion: v.companion})
	if err != nil {
		v.problem(Problem{Kind: "unknown", Record: at.Seq, Text: "after a gap the volume could not be read again: " + err.Error()})
		return
	}
	r := &recrawl{names: newNames(f.Info().Root), attrs: map[fs.ID]fs.Attr{}}
	if err := f.Crawl(r); err != nil {
		v.problem(Problem{Kind: "unknown", Record: at.Seq, Text: "after a gap the volume could not be read again: " + err.Error()})
		return
	}
	r.names.decide(f.Stat)
	tx := &fs.Tx{Basis: fs.BasisWrite, Time: fs.NoTime, First: at, Last: at}
	whole := !slices.ContainsFunc(r.problems, func(p Problem) bool { return p.Kind == problemKind(fs.ProblemUnknown) })
	if whole {
		tx.Removed = v.names.missing(r.names)
	} else {
		// A name that is not seen because its directory was not captured is not
		// a name that went.
		v.problem(Problem{Kind: "unknown", Record: at.Seq, Text: "after a gap parts of the volume are still unknown: deletions meanwhile cannot be told"})
	}
	tx.Added = r.names.missing(v.names)
	for _, id := range appeared(tx, v.names, r) {
		tx.Inodes = append(tx.Inodes, fs.InodeChange{ID: id, New: r.attrs[id]})
	}
	for _, id := range vanished(tx, r) {
		tx.Inodes = append(tx.Inodes, fs.InodeChange{ID: id, Old: fs.Attr{ID: id, Live: true, ATime: fs.NoTime, MTime: fs.NoTime, CTime: fs.NoTime, BTime: fs.NoTime}})
	}
	slices.SortFunc(tx.Inodes, func(a, b fs.InodeChange) int { return a.ID.Compare(b.ID) })
	v.fs, v.info = f, f.Info()
	v.register()
	clear(v.before)
	clear(v.known)
	clear(v.awaited)
	clear(v.early)
	clear(v.moving)
	clear(v.vacated)
	clear(v.leaving)
	clear(v.spent)
	clear(v.names.rivals)
	v.halves = nil
	if len(tx.Added)+len(tx.Removed) > 0 {
		v.Commit(tx)
	}
	v.names.rivals = r.names.rivals
}

// missing lists the entries of t that o does not have, sorted.
func (t *names) missing(o *names) []fs.Dirent {
	var out []fs.Dirent
	for dir, es := range t.entries {
		for name, id := range es {
			if got, ok := o.entries[dir][name]; !ok || got != id {
				out = append(out, fs.Dirent{Parent: dir, Name: name, Child: id})
			}
		}
	}
	slices.SortFunc(out, func(a, b fs.Dirent) int {
		return cmp.Or(a.Parent.Compare(b.Parent), cmp.Compare(a.Name, b.Name), a.Child.Compare(b.Child))
	})
	return out
}

// appeared lists inodes that have a name now and had none before.
func appeared(tx *fs.Tx, old *names, now *recrawl) []fs.ID {
	seen := map[fs.ID]bool{}
	var out []fs.ID
	for _, d := range tx.Added {
		if a, ok := now.attrs[d.Child]; ok && a.Live && len(old.of[d.Child]) == 0 && !seen[d.Child] {
			seen[d.Child] = true
			out = append(out, d.Child)
		}
	}
	return out
}

// vanished lists inodes that are free now.
func vanished(tx *fs.Tx, now *recrawl) []fs.ID {
	seen := map[fs.ID]bool{}
	var out []fs.ID
	for _, d := range tx.Removed {
		if a, ok := now.attrs[d.Child]; (!ok || !a.Live) && !seen[d.Child] {
			seen[d.Child] = true
			out = append(out, d.Child)
		}
	}
	return out
}
