package memory

import "github.com/xentape/xentape/format"

// gather puts the pages of a batch that are to be stated together where they were read,
// and states them when the batch is over.
type gather struct {
	pages []uint64
	data  []byte // a part of the batch, from the first of pages on
	to    *statements
}

// put takes a page of a batch, ascending.
func (g *gather) put(page uint64, data []byte) error {
	n := len(g.data)
	if n == 0 {
		g.data = data[:0]
	}
	g.pages, g.data = append(g.pages, page), g.data[:n+format.PageSize]
	if kept := g.data[n:]; &kept[0] != &data[0] {
		copy(kept, data)
	}
	return nil
}

// over states what was put.
func (g *gather) over() error {
	if len(g.pages) == 0 {
		return nil
	}
	err := g.to.Pages(g.pages, g.data)
	g.pages, g.data = g.pages[:0], nil
	return err
}
