package xenstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Bounds of a dump: a guest may fill its part of the tree.
const (
	maxNodes = 16 << 10
	maxDepth = 32
)

// dumpWorkers is how many requests of a dump are under way at once: a round trip to
// a busy xenstored takes milliseconds, and there are hundreds.
const dumpWorkers = 32

// node is one node of a dump.
type node struct {
	path, value string
	names       []string
}

// Dump lists nodes and what is below each, one "path = value" a line with the value
// quoted, parents before children and siblings by name. What is beyond the bounds is
// said in a last line. With an error the dump has the nodes that could be read.
func (c *Client) Dump(ctx context.Context, paths ...string) (string, error) {
	var b strings.Builder
	var errs []error
	for _, path := range paths {
		text, err := c.dump(ctx, path)
		errs = append(errs, err)
		b.WriteString(text)
	}
	return b.String(), errors.Join(errs...)
}

func (c *Client) dump(ctx context.Context, path string) (string, error) {
	var all []node
	level := []string{path}
	cut := false
	for depth := 0; len(level) > 0; depth++ {
		if depth > maxDepth || len(all)+len(level) > maxNodes {
			cut = true
			break
		}
		nodes, err := c.nodes(ctx, level)
		if err != nil {
			return "", err
		}
		level = level[:0:0]
		for _, n := range nodes {
			for _, name := range n.names {
				level = append(level, strings.TrimSuffix(n.path, "/")+"/"+name)
			}
		}
		all = append(all, nodes...)
	}
	slices.SortFunc(all, func(a, b node) int {
		return slices.Compare(strings.Split(a.path, "/"), strings.Split(b.path, "/"))
	})
	var b strings.Builder
	for _, n := range all {
		fmt.Fprintf(&b, "%s = %s\n", n.path, strconv.Quote(n.value))
	}
	if cut {
		fmt.Fprintf(&b, "# more than %d nodes or %d levels: the rest is left out\n", maxNodes, maxDepth)
	}
	return b.String(), nil
}

// nodes reads the given nodes; those removed meanwhile are left out.
func (c *Client) nodes(ctx context.Context, paths []string) ([]node, error) {
	got := make([]*node, len(paths))
	errs := make([]error, len(paths))
	var wg sync.WaitGroup
	slots := make(chan struct{}, dumpWorkers)
	for i, path := range paths {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			got[i], errs[i] = c.node(ctx, path)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var out []node
	for _, n := range got {
		if n != nil {
			out = append(out, *n)
		}
	}
	return out, nil
}

func (c *Client) node(ctx context.Context, path string) (*node, error) {
	value, err := c.Read(ctx, path)
	if err == nil {
		var names []string
		if names, err = c.List(ctx, path); err == nil {
			return &node{path, value, names}, nil
		}
	}
	if errors.Is(err, ErrNotExist) {
		return nil, nil
	}
	return nil, err
}
