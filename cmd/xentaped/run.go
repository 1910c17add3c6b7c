package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/capture/disk"
	"github.com/xentape/xentape/capture/host"
	"github.com/xentape/xentape/capture/ring"
)

func newRunCommand(c *console) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "run --config FILE",
		Short: "The service: record every guest into a ring of the last hours",
		Long: `Record all guests, or those the configuration names, into segments that each are a
tape of their own. The oldest go when they are too old, too many, or the file system
is full; "xentaped trigger" keeps those of the last minutes, and so does writing
"GUEST [KEEP]" or "all [KEEP]" to /tool/xentape/trigger in xenstore.`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" {
				return usagef("run: --config FILE is required")
			}
			cfg, err := readConfig(name)
			if err != nil {
				return err
			}
			return runService(cmd.Context(), c, cfg)
		},
	}
	cmd.Flags().StringVar(&name, "config", "", "configuration file (required)")
	return cmd
}

// lookEvery is how often the service looks for new guests and at its limits.
const lookEvery = 5 * time.Second

func runService(ctx context.Context, c *console, cfg *config) (err error) {
	parts := newShares(cfg.Limits.Memory)
	parts.keep()
	if cfg.Limits.CPUs > 0 {
		runtime.GOMAXPROCS(cfg.Limits.CPUs)
	}
	h, privs, err := openHost(host.Options{}, cfg.NoSandbox, cfg.Guests, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close(), privs.Close()) }()
	keeper, err := startGuard(h.Xen, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, keeper.Close()) }()
	clock, err := capture.NewClock()
	if err != nil {
		return err
	}
	r, err := ring.Open(cfg.Directory, ring.Limits{Age: cfg.Keep.Age, Bytes: int64(cfg.Keep.Bytes)})
	if err != nil {
		return err
	}
	privs.giveUp(c, cfg.sandbox())
	set := &recorderSet{config: cfg, host: h, privs: privs, guard: keeper, clock: clock, ring: r, console: c, shares: parts, open: map[string]bool{}, rebase: map[string]bool{}, look: lookEvery}
	if err := notify("READY=1"); err != nil {
		c.notef("service manager: %v", err)
	}
	return set.run(ctx)
}

// run starts a flight for each guest that appears, and keeps the ring within its
// limits.
func (r *recorderSet) run(ctx context.Context) error {
	var flights sync.WaitGroup
	defer r.keeping.Wait() // until the segments before the pinned ones have ended
	defer flights.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // on an error too
	flights.Go(func() {
		if err := r.watchTrigger(ctx); err != nil && ctx.Err() == nil {
			r.console.notef("%v", err)
		}
	})
	failed := make(chan error, 1)
	flights.Go(func() { failed <- r.keepRoom(ctx) })
	for {
		guests, err := r.host.Guests(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for _, g := range guests {
			f := r.begin(g)
			if f == nil {
				continue
			}
			flights.Go(func() {
				r.console.notef("recording %s (domain %d, %s)", g.Name, g.Domain, g.Type)
				f.fly(ctx)
				r.console.notef("%s (domain %d) is not recorded any more", g.Name, g.Domain)
				r.mu.Lock()
				delete(r.flights, g.Domain)
				r.mu.Unlock()
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-time.After(r.look):
		}
	}
}

// keepRoom keeps the ring within its limits until ctx ends.
func (r *recorderSet) keepRoom(ctx context.Context) error {
	disk.IdleThread()
	for ctx.Err() == nil {
		if err := r.makeRoom(); err != nil && !errors.Is(err, errNoRoom) {
			return err
		}
		sleep(ctx, r.look)
	}
	return nil
}

// begin makes the flight of a guest that is wanted and has none.
func (r *recorderSet) begin(g *host.Guest) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flights[g.Domain] != nil || !r.config.wants(g) {
		return nil
	}
	if len(r.flights) >= r.shares.guests() {
		if !r.refused[g.Domain] {
			r.console.notef("%s (domain %d) is not recorded: limits: memory is enough for %d guests", g.Name, g.Domain, r.shares.guests())
		}
		if r.refused == nil {
			r.refused = map[uint16]bool{}
		}
		r.refused[g.Domain] = true
		return nil
	}
	if r.flights == nil {
		r.flights = map[uint16]*flight{}
	}
	f := &flight{set: r, guest: g}
	r.flights[g.Domain] = f
	return f
}

// recorded is how many guests there are flights of.
func (r *recorderSet) recorded() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.flights)
}

// flying are the flights there are, by domain.
func (r *recorderSet) flying() []*flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*flight
	for _, id := range slices.Sorted(maps.Keys(r.flights)) {
		out = append(out, r.flights[id])
	}
	return out
}

func (c *config) wants(g *host.Guest) bool {
	return len(c.Guests) == 0 || slices.Contains(c.Guests, g.Name) || slices.Contains(c.Guests, host.FormatUUID(g.UUID))
}

// notify tells the service manager how the service is (sd_notify(3)).
func notify(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	return errors.Join(err, conn.Close())
}

func newTriggerCommand(c *console) *cobra.Command {
	var all bool
	var keep time.Duration
	cmd := &cobra.Command{
		Use:   "trigger DOMAIN|--all",
		Short: "Have the service take a snapshot now and keep what it has of the last minutes",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) == 1) {
				return usagef("usage: xentaped trigger DOMAIN, or trigger --all")
			}
			return runTrigger(cmd.Context(), c, args, keep)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every guest that is being recorded")
	cmd.Flags().DurationVar(&keep, "keep", defaultKeep, "how far back to keep")
	return cmd
}

func runTrigger(ctx context.Context, c *console, args []string, keep time.Duration) error {
	h, err := host.Open(host.Options{})
	if err != nil {
		return err
	}
	defer h.Close()
	var guests []*host.Guest
	if len(args) == 1 {
		g, err := h.Find(ctx, args[0])
		if err != nil {
			return err
		}
		guests = []*host.Guest{g}
	} else if guests, err = h.Guests(ctx); err != nil {
		return err
	}
	var errs []error
	for _, g := range guests {
		a, err := ask(ctx, socketPath(g.UUID), command{Verb: "trigger", Keep: duration(keep)})
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", g.Name, err))
		}
		if a != nil {
			for _, p := range a.Pinned {
				fmt.Fprintln(c.out, p)
			}
		}
	}
	return errors.Join(errs...)
}
