package xenstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Bounds of a dump: a guest may fill its part of the tree.
const (
	maxNodes = 16 << 10
	maxDepth = 32
)

// Dump lists a node and what is below it, one "path = value" a line with the value
// quoted, in path order. What is beyond the bounds is said in a last line.
func (c *Client) Dump(ctx context.Context, path string) (string, error) {
	var b strings.Builder
	nodes := 0
	if err := c.dump(ctx, &b, path, 0, &nodes); err != nil {
		return "", err
	}
	if nodes >= maxNodes {
		fmt.Fprintf(&b, "# more than %d nodes: the rest is left out\n", maxNodes)
	}
	return b.String(), nil
}

func (c *Client) dump(ctx context.Context, b *strings.Builder, path string, depth int, nodes *int) error {
	if *nodes++; *nodes > maxNodes || depth > maxDepth {
		return nil
	}
	value, err := c.Read(ctx, path)
	if errors.Is(err, ErrNotExist) {
		return nil // removed meanwhile
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "%s = %s\n", path, strconv.Quote(value))
	names, err := c.List(ctx, path)
	if errors.Is(err, ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := c.dump(ctx, b, strings.TrimSuffix(path, "/")+"/"+n, depth+1, nodes); err != nil {
			return err
		}
	}
	return nil
}
