package files

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// wave is a run of files of one volume turning into noise, each within a minute
// of the one before.
type wave struct {
	finding *Finding
	last    Time
	files   map[string]string // path to how
	ways    map[string]int
	exts    map[string]int
	records []uint64
	first   Time
	beside  map[string]copyOf // noise that appeared beside an original, by the original's path
	gone    map[string]copyOf // files that went
	renamed map[string]bool   // paths whose file had another extension before
}

type copyOf struct {
	record uint64
	ext    string
}

func (f *finder) wave(e *Event) *wave {
	w := f.waves[e.Volume]
	if w == nil || e.TimeLower.Known() && w.last.Known() && int64(e.TimeLower-w.last) > ransomWindow {
		w = &wave{files: map[string]string{}, ways: map[string]int{}, exts: map[string]int{}, beside: map[string]copyOf{}, gone: map[string]copyOf{}, renamed: map[string]bool{}, first: e.TimeLower, last: Unknown}
		f.waves[e.Volume] = w
	}
	return w
}

// encryption recognises three ways of turning a file into noise: a new noisy
// file beside the original, which is then deleted; overwriting in place; and
// overwriting followed by a new extension. Entropy is that of the ranges
// written, so that encrypting only parts does not hide it; what was noise before
// does not count.
func (f *finder) encryption(e *Event, l *life) {
	if e.Type != "file" {
		return
	}
	w := f.wave(e)
	switch e.Op {
	case OpWrite:
		if e.EntropyNew == nil || !noisy(*e.EntropyNew, written(e)) {
			return
		}
		switch {
		case e.SHA256Old == "" && e.SizeOld == nil || l.fills:
			f.copied(e, w)
		case e.EntropyOld != nil && *e.EntropyOld < 7 && e.SHA256Old != e.SHA256New:
			how := "overwritten in place"
			if e.Size != nil && written(e)*2 < *e.Size {
				how = "overwritten in part"
			}
			w.count(f, e, e.Path, how)
		}
	case OpDelete:
		if c, ok := w.beside[e.Path]; ok {
			delete(w.beside, e.Path)
			w.replaced(f, e, e.Path, c)
		} else if len(w.gone) < maxRemember {
			w.gone[e.Path] = copyOf{e.LastRecord, ""}
		}
	case OpRename:
		if path.Ext(e.OldPath) == path.Ext(e.Path) || len(w.renamed) >= maxRemember {
			return
		}
		w.renamed[e.Path] = true
		_, before := w.files[e.OldPath]
		_, now := w.files[e.Path] // written in the transaction that renamed it
		if before || now {
			w.extended(e.Path)
			w.update()
		}
	}
}

// copied notes noise in a new file, named as the original and an extension more. What
// begins as a compressed format does is no noise.
func (f *finder) copied(e *Event, w *wave) {
	if compressed(e.MagicNew) || path.Ext(e.Path) == "" {
		return
	}
	original, c := strings.TrimSuffix(e.Path, path.Ext(e.Path)), copyOf{e.LastRecord, path.Ext(e.Path)}
	if g, ok := w.gone[original]; ok {
		delete(w.gone, original)
		c.record = g.record
		w.replaced(f, e, original, c)
	} else if len(w.beside) < maxRemember {
		w.beside[original] = c
	}
}

// replaced counts an original that went, before its noisy copy was told of or after.
func (w *wave) replaced(f *finder, e *Event, original string, c copyOf) {
	w.records = append(w.records, c.record)
	w.exts[c.ext]++
	w.count(f, e, original, "replaced by a noisy copy")
}

// extended counts an encrypted file that has another extension now.
func (w *wave) extended(p string) {
	w.ways["given a new extension"]++
	w.exts[path.Ext(p)]++
}

func (w *wave) count(f *finder, e *Event, p, how string) {
	if _, again := w.files[p]; again {
		return
	}
	if len(w.files) < maxRemember {
		w.files[p] = how
	}
	w.ways[how]++
	if w.renamed[p] {
		w.extended(p)
	}
	// An event told only to lie between two commits begins before those around it.
	if e.TimeLower.Known() && (!w.last.Known() || e.TimeLower > w.last) {
		w.last = e.TimeLower
	}
	if len(w.files) == 1 {
		w.first = e.TimeLower
	}
	if len(w.records) < maxEvidence {
		w.records = append(w.records, e.FirstRecord, e.LastRecord)
	}
	if w.finding == nil && len(w.files) >= ransomFiles {
		w.finding = &Finding{Kind: FindRansom, Severity: "high", Disk: e.Disk, Volume: e.Volume}
		f.add(w.finding)
		for q := range w.files {
			w.finding.Paths = append(w.finding.Paths, q)
		}
		slices.Sort(w.finding.Paths)
	} else if w.finding != nil && len(w.finding.Paths) < maxEvidence {
		w.finding.Paths = append(w.finding.Paths, p)
	}
	if w.finding != nil {
		w.finding.Until = e.TimeUpper
	}
	w.update()
}

// update rewrites the finding with what is known by now.
func (w *wave) update() {
	g := w.finding
	if g == nil {
		return
	}
	g.Time, g.Count, g.Records = w.first, len(w.files), append([]uint64(nil), w.records...)
	g.Reasons = nil
	for _, how := range keys(w.ways) {
		g.Reasons = append(g.Reasons, fmt.Sprintf("%d files %s", w.ways[how], how))
	}
	for _, ext := range keys(w.exts) {
		if w.exts[ext] >= ransomFiles/2 {
			g.Reasons = append(g.Reasons, fmt.Sprintf("%d files now end in %q", w.exts[ext], ext))
		}
	}
}

func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
