// Command pagediff holds two images of a guest's memory against each other, page by
// page. An image is a file that another tool made (xl dump-core, xl save, raw), or
// the snapshot N of a tape, written TAPE#N. Every page that differs, and every page
// that one image has and the other has not, is printed with what the guest's grant
// table says of it, and makes it fail.
//
// With -more the second image may have pages that the first has not; they are printed
// as ranges. LATER is an image of the same guest, taken after the first as the second
// was before it: a page that differs must be as it is there.
//
//	pagediff [-more] IMAGE IMAGE [LATER]
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/xentape/xentape/capture/foreign"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

func main() {
	more := flag.Bool("more", false, "the second image may have more pages")
	flag.Parse()
	if flag.NArg() < 2 || flag.NArg() > 3 {
		fmt.Fprintln(os.Stderr, "usage: pagediff [-more] IMAGE IMAGE [LATER], each a file or TAPE#SNAPSHOT")
		os.Exit(2)
	}
	same, err := run(flag.Arg(0), flag.Arg(1), flag.Arg(2), *more, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "pagediff:", err)
	}
	if err != nil || !same {
		os.Exit(1)
	}
}

// memory is an image and what is known of its pages.
type memory struct {
	format.Image
	name   string
	grants map[uint64]bool // frames another domain may write; nil: not known
	close  func() error
}

func run(first, second, later string, more bool, w io.Writer) (same bool, err error) {
	a, err := open(first)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	b, err := open(second)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	d, err := compare(a, b)
	if err != nil {
		return false, err
	}
	if more {
		d.setAside(w, b.name)
	}
	d.print(w, a, b)
	if d.compared == 0 {
		return false, fmt.Errorf("%s and %s have no page in common", a.name, b.name)
	}
	if later == "" || len(d.pages) == 0 {
		return len(d.pages) == 0, nil
	}
	c, err := open(later)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	return d.changedLater(w, a, c)
}

// open opens a file, or a snapshot of a tape.
func open(what string) (*memory, error) {
	path, number, isTape := strings.Cut(what, "#")
	if !isTape {
		return openForeign(path)
	}
	n, err := strconv.Atoi(number)
	if err != nil {
		return nil, fmt.Errorf("%s: snapshot %q is no number", path, number)
	}
	t, err := replay.Open(path, replay.Options{})
	if err != nil {
		return nil, err
	}
	m, err := t.Memory(n)
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return &memory{Image: m, name: what, grants: granted(m), close: t.Close}, nil
}

func openForeign(path string) (*memory, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	m, err := foreign.OpenMemory(f, info.Size(), path)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &memory{Image: m, name: path, close: f.Close}, nil
}

// difference is what two images do not agree on.
type difference struct {
	compared uint64
	pages    []pageDifference
}

type pageDifference struct {
	page     uint64
	a, b     format.PageState
	from, to int // bytes of the page between which they differ
	bytes    int // how many of these do
}

// compare reads every page that either image has.
func compare(a, b *memory) (*difference, error) {
	d := &difference{}
	var pa, pb [format.PageSize]byte
	for _, e := range format.JoinExtents(slices.Concat(a.Extents(), b.Extents())) {
		for n := e.Start; n < e.Start+e.Count; n++ {
			sa, err := a.ReadPage(n, pa[:])
			if err != nil {
				return nil, fmt.Errorf("%s: page %#x: %w", a.name, n, err)
			}
			sb, err := b.ReadPage(n, pb[:])
			if err != nil {
				return nil, fmt.Errorf("%s: page %#x: %w", b.name, n, err)
			}
			if !has(sa) && !has(sb) {
				continue
			}
			d.compared++
			if has(sa) == has(sb) && bytes.Equal(pa[:], pb[:]) {
				continue
			}
			p := pageDifference{page: n, a: sa, b: sb}
			p.measure(pa[:], pb[:])
			d.pages = append(d.pages, p)
		}
	}
	return d, nil
}

// setAside prints the pages that only the second image has, and leaves them out.
func (d *difference) setAside(w io.Writer, second string) {
	var only []format.Extent
	n := len(d.pages)
	d.pages = slices.DeleteFunc(d.pages, func(p pageDifference) bool {
		if has(p.a) {
			return false
		}
		only = format.AppendExtent(only, format.Extent{Start: p.page, Count: 1})
		return true
	})
	fmt.Fprintf(w, "%d pages are in %s only:", n-len(d.pages), second)
	for _, e := range only {
		fmt.Fprintf(w, " %#x", e.Start)
		if e.Count > 1 {
			fmt.Fprintf(w, "-%#x", e.Start+e.Count-1)
		}
	}
	fmt.Fprintln(w)
	d.compared -= uint64(n - len(d.pages))
}

// changedLater says whether each page that differs is as a later image has it.
func (d *difference) changedLater(w io.Writer, a, later *memory) (bool, error) {
	var pa, pc [format.PageSize]byte
	left := 0
	for _, p := range d.pages {
		sa, err := a.ReadPage(p.page, pa[:])
		if err != nil {
			return false, fmt.Errorf("%s: page %#x: %w", a.name, p.page, err)
		}
		sc, err := later.ReadPage(p.page, pc[:])
		if err != nil {
			return false, fmt.Errorf("%s: page %#x: %w", later.name, p.page, err)
		}
		if has(sa) != has(sc) || pa != pc {
			left++
			fmt.Fprintf(w, "page %#x: differs from %s too\n", p.page, later.name)
		}
	}
	fmt.Fprintf(w, "%d of these %d pages are as %s has them\n", len(d.pages)-left, len(d.pages), later.name)
	return left == 0, nil
}

func has(s format.PageState) bool { return s == format.PageData || s == format.PageZero }

func (p *pageDifference) measure(a, b []byte) {
	for i := range a {
		if a[i] == b[i] {
			continue
		}
		if p.bytes == 0 {
			p.from = i
		}
		p.to = i + 1
		p.bytes++
	}
}

func (d *difference) print(w io.Writer, a, b *memory) {
	grants := a.grants
	if grants == nil {
		grants = b.grants
	}
	for _, p := range d.pages {
		why := "not granted to anybody"
		switch {
		case grants == nil:
			why = "grants not known"
		case grants[p.page]:
			why = "a backend may write it"
		}
		if has(p.a) != has(p.b) {
			fmt.Fprintf(w, "page %#x: %v in one, %v in the other (%s)\n", p.page, p.a, p.b, why)
			continue
		}
		fmt.Fprintf(w, "page %#x: %d bytes differ, from %#x to %#x (%s)\n", p.page, p.bytes, p.from, p.to, why)
	}
	fmt.Fprintf(w, "%d pages compared, %d differ: %s, %s\n", d.compared, len(d.pages), a.name, b.name)
}
