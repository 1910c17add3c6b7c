package files

import (
	"fmt"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// SelfCheck reads every volume from the start, as if the disk had just been
// handed over, and compares with what was followed write by write. It returns
// the differences, sorted; none means that both ways agree.
func (a *Analyzer) SelfCheck() []string {
	a.begin()
	var out []string
	for _, v := range a.volumes {
		if v.fs == nil {
			continue
		}
		f, err := probe(v.dev, fs.Options{Companion: v.companion})
		if err != nil {
			out = append(out, fmt.Sprintf("%s: cannot be opened again: %v", v.def.Name, err))
			continue
		}
		r := &recrawl{names: newNames(f.Info().Root), attrs: map[fs.ID]fs.Attr{}}
		if err := f.Crawl(r); err != nil {
			out = append(out, fmt.Sprintf("%s: %v", v.def.Name, err))
		}
		v.names.decide(v.fs.Stat)
		out = append(out, v.differences(r, f.Stat)...)
	}
	slices.Sort(out)
	return out
}

func (v *volumeState) differences(r *recrawl, stat func(fs.ID) (fs.Attr, error)) []string {
	var out []string
	note := func(what string, path string) { out = append(out, v.def.Name+": "+what+" "+path) }
	for id, ps := range v.leaving {
		for _, p := range ps {
			r.names.remove(fs.Dirent{Parent: p.parent, Name: p.name, Child: id})
		}
	}
	if k, ok := v.fs.(fs.Keeper); ok {
		for _, d := range k.Kept() {
			r.names.add(d) // what cannot be read now, a crawl cannot know
		}
	}
	r.names.decide(stat)
	fresh := map[string]fs.ID{}
	r.names.walk(func(path string, id fs.ID) { fresh[path] = id })
	v.names.walk(func(path string, id fs.ID) {
		want, ok := fresh[path]
		delete(fresh, path)
		switch {
		case !ok:
			note("followed but not crawled:", path)
			return
		case want != id:
			note("another inode:", path)
			return
		}
		got, err := v.fs.Stat(id)
		attr, known := r.attrs[id]
		switch {
		case err != nil && (!known || got == attr): // both ways could read no more
		case err != nil || !known || got != attr:
			note("attributes:", path)
		}
	})
	for id, d := range v.known {
		if a, err := v.fs.Stat(id); err != nil || d.size != a.Size || d.generation != a.Generation {
			continue // it is read again when it is asked for
		} else if !v.content(id, a).same(d) {
			note("content remembered:", v.names.path(id))
		}
	}
	for path := range fresh {
		note("crawled but not followed:", path)
	}
	return out
}
