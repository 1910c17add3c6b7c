package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/xentape/xentape/capture/host"
)

// triggerKey is the node of xenstore that triggers the service when dom0 writes to it:
// "GUEST [KEEP]" or "all [KEEP]", as in
//
//	xenstore-write /tool/xentape/trigger "web 15m"
//
// Below /tool no guest may write.
const triggerKey = "/tool/xentape/trigger"

// defaultKeep is how far back a trigger keeps when it does not say.
const defaultKeep = 30 * time.Minute

// keyTrigger is one trigger that came by xenstore.
type keyTrigger struct {
	guest string // "all": every guest
	keep  time.Duration
}

func parseKeyTrigger(value string) (keyTrigger, error) {
	words := strings.Fields(value)
	if len(words) == 0 || len(words) > 2 {
		return keyTrigger{}, fmt.Errorf("%s: %q is not \"GUEST [KEEP]\"", triggerKey, value)
	}
	t := keyTrigger{guest: words[0], keep: defaultKeep}
	if len(words) == 2 {
		var err error
		if t.keep, err = time.ParseDuration(words[1]); err != nil || t.keep < 0 {
			return keyTrigger{}, fmt.Errorf("%s: %q: keep %q is no duration", triggerKey, value, words[1])
		}
	}
	return t, nil
}

// watchTrigger triggers whenever the node is written, until ctx ends. What it holds at
// the beginning was meant for an earlier service.
func (r *recorderSet) watchTrigger(ctx context.Context) error {
	changed := make(chan string, 1)
	const token = "xentape-trigger"
	if err := r.host.Store.Watch(ctx, triggerKey, token, changed); err != nil {
		return fmt.Errorf("triggers by xenstore are not seen: %w", err)
	}
	defer r.host.Store.Unwatch(context.WithoutCancel(ctx), triggerKey, token)
	first := true
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-changed:
			if !open {
				return errors.New("xenstored is gone: triggers by xenstore are not seen any more")
			}
			if first {
				first = false
				continue
			}
			if err := r.triggerByKey(ctx); err != nil {
				r.console.notef("%v", err)
			}
		}
	}
}

func (r *recorderSet) triggerByKey(ctx context.Context) error {
	value, err := r.host.Store.Read(ctx, triggerKey)
	if err != nil || value == "" {
		return nil // removed, or emptied
	}
	t, err := parseKeyTrigger(value)
	if err != nil {
		return err
	}
	var errs []error
	met := false
	for _, f := range r.flying() {
		if t.guest != "all" && !f.guest.Is(t.guest) {
			continue
		}
		met = true
		a := f.handle(ctx, command{Verb: "trigger", Keep: duration(t.keep)})
		if a.Error != "" {
			errs = append(errs, fmt.Errorf("%s: %s", f.guest.Name, a.Error))
		}
		for _, p := range a.Pinned {
			r.console.notef("%s: kept %s", f.guest.Name, p)
		}
	}
	if !met {
		errs = append(errs, fmt.Errorf("%s: guest %q: %w", triggerKey, t.guest, host.ErrNoDomain))
	}
	return errors.Join(errs...)
}
