package domains

import (
	"context"
	"io"
	"time"
)

// unhurried reads so that what is done with the content takes a twentieth of a CPU
// at most, until ctx ends: the first snapshot of the guest wants them all.
type unhurried struct {
	ctx  context.Context
	from io.Reader
	busy time.Time // since when something is done with the content
}

// longestRest bounds each pause: the time that passed may have been another's.
const longestRest = time.Second

func (u *unhurried) Read(b []byte) (int, error) {
	if !u.busy.IsZero() {
		select {
		case <-time.After(min(19*time.Since(u.busy), longestRest)):
		case <-u.ctx.Done():
		}
	}
	n, err := u.from.Read(b)
	u.busy = time.Now()
	return n, err
}
