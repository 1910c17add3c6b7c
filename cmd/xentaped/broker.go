package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture/broker"
	"github.com/xentape/xentape/capture/guard"
	"github.com/xentape/xentape/capture/host"
	"github.com/xentape/xentape/capture/sandbox"
	"github.com/xentape/xentape/format"
)

// newBrokerCommand is the process that holds the privilege: record and run start it,
// nobody else.
func newBrokerCommand() *cobra.Command {
	var force bool
	var guests []string
	var recorder int
	var spool string
	cmd := &cobra.Command{
		Use:    "broker",
		Short:  "Open what takes privilege for a recorder (started by record and run)",
		Hidden: true,
		Args:   exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			defer sweep(spool)
			return runBroker(cmd.Context(), guests, recorder, force)
		},
	}
	cmd.Flags().BoolVar(&force, "force-domctl-abi", false, "")
	cmd.Flags().StringArrayVar(&guests, "guest", nil, "")
	cmd.Flags().IntVar(&recorder, "recorder", 0, "")
	cmd.Flags().StringVar(&spool, "sweep", "", "")
	return cmd
}

func runBroker(ctx context.Context, guests []string, recorder int, force bool) error {
	// The broker ends when its recorder does, and only then.
	signal.Ignore(os.Interrupt, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE)
	conns, err := broker.Inherited()
	if err != nil {
		return usagef("broker is started by record and run: %w", err)
	}
	h, err := host.Open(host.Options{ForceDomctl: force})
	if err != nil {
		return errors.Join(err, conns.Close())
	}
	marks := guard.Marks(stateDir())
	err = broker.Serve(context.WithoutCancel(ctx), conns, broker.ServerConfig{
		Port: h.Xen.Port(), Directory: h.Directory, Frames: host.OpenFrames, Xenstored: host.DialXenstore,
		Guests: guests, Paused: marks.Has, DebugFS: "/sys/kernel/debug", Recorder: recorder,
	})
	return errors.Join(err, h.Close())
}

// privileges is where a recorder gets what takes privilege: a broker, or itself.
type privileges struct {
	client *broker.Client // nil: this process opens everything itself
}

// openHost meets the host, through a broker unless the operator wants none. guests
// are those that may be recorded; none: all. spool is a file that the broker removes in
// the end, if it is empty: a recorder that gave up its privileges cannot.
func openHost(o host.Options, direct bool, guests []string, spool string) (*host.Host, *privileges, error) {
	if direct {
		h, err := host.Open(o)
		return h, &privileges{}, err
	}
	args := []string{"broker", "--recorder", fmt.Sprint(os.Getpid())}
	if o.ForceDomctl {
		args = append(args, "--force-domctl-abi")
	}
	for _, g := range guests {
		args = append(args, "--guest", g)
	}
	if spool != "" {
		args = append(args, "--sweep", spool)
	}
	client, err := broker.Start("/proc/self/exe", args...)
	if err != nil {
		return nil, nil, err
	}
	h, err := host.Through(client, o)
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return h, &privileges{client}, nil
}

// Close ends the broker.
func (p *privileges) Close() error {
	if p.client == nil {
		return nil
	}
	return p.client.Close()
}

// giveUp takes from this process what it does not need for what follows. What is not
// to be had on this kernel is said to the operator, and is put on each tape.
func (p *privileges) giveUp(c *console, rules sandbox.Rules) {
	if p.client == nil {
		c.notef("--no-sandbox: the recorder keeps all privileges")
		return
	}
	// What is not there when the rules are made cannot be written later.
	if err := os.MkdirAll(stateDir(), 0o700); err != nil {
		c.notef("control sockets: %v", err)
	}
	rules.Read = append(rules.Read, "/proc", "/sys")
	rules.Write = append(rules.Write, stateDir())
	if r := sandbox.Enter(rules); !r.Complete() {
		c.notef("the recorder could not give up all privileges: %v", r)
	}
}

// attr says on the tape who held what.
func (p *privileges) attr() format.Attr {
	if p.client == nil {
		return format.Attr{Name: "privileges", Value: "all"}
	}
	return format.Attr{Name: "privileges", Value: "given up"}
}
