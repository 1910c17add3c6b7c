package main

import (
	"fmt"
	"time"

	"github.com/xentape/xentape/replay"
)

// about is how far before its beginning a time still means the beginning of a tape: users
// write less than nanoseconds.
const about = time.Second

// momentAt is the moment of a tape that --at asks for. Of a time before the recording
// nothing is known; of one after it, how things stood when it ended.
func momentAt(t *terminal, tape *replay.Tape, at string) (replay.Moment, error) {
	m, err := tape.Moment(at)
	if err != nil || m == replay.End {
		return m, err
	}
	clock := tape.Clock()
	if m.Time < clock.Start()-int64(about) {
		return m, fmt.Errorf("--at %s: nothing is known of that time, %s begins at %s: +0s is its beginning, and an earlier tape may have it",
			at, tape.Name, clock.Format(clock.Start()))
	}
	if end := tape.End(); m.Time > end {
		t.warnf("--at %s: %s ends before that, at %s: this is how it stood then", at, tape.Name, clock.Format(end))
	}
	return m, nil
}
