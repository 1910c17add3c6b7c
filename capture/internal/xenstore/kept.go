package xenstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Kept is the dump of some nodes, read again only after something changed at or below
// one of them: a dump is hundreds of round trips, and a guest may be asked about often.
type Kept struct {
	c       *Client
	roots   []string
	number  int // of this one among those of the client
	changed chan string

	mu       sync.Mutex
	watching int // how many of the roots are watched
	closed   bool
	text     string
	whole    bool // text is what there was before the last change
}

// Keep keeps the dump of nodes, and of those that appear under their names later.
func (c *Client) Keep(roots ...string) *Kept {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keeps++
	return &Kept{c: c, roots: roots, number: c.keeps, changed: make(chan string, 1)}
}

// token is that of the watch of a root.
func (k *Kept) token(root int) string { return fmt.Sprintf("kept-%d-%d", k.number, root) }

// Dump is Client.Dump of the nodes as they are now.
func (k *Kept) Dump(ctx context.Context) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return "", errors.New("nothing of xenstore is kept any more")
	}
	for ; k.watching < len(k.roots); k.watching++ {
		if err := k.c.Watch(ctx, k.roots[k.watching], k.token(k.watching), k.changed); err != nil {
			return "", err
		}
	}
	// Events and replies come in the order in which xenstored made them: with this reply,
	// what changed before it is known.
	if _, err := k.c.Read(ctx, k.roots[0]); err != nil && !errors.Is(err, ErrNotExist) {
		return "", err
	}
	select {
	case <-k.changed:
		k.whole = false
	default:
	}
	if k.whole {
		return k.text, nil
	}
	text, err := k.c.Dump(ctx, k.roots...)
	k.text, k.whole = text, err == nil
	return text, err
}

// Close ends the watching.
func (k *Kept) Close(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var errs []error
	for ; k.watching > 0; k.watching-- {
		errs = append(errs, k.c.Unwatch(ctx, k.roots[k.watching-1], k.token(k.watching-1)))
	}
	k.closed, k.text = true, ""
	return errors.Join(errs...)
}
