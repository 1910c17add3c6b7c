// Command peer is everyone a guest of the lab talks to: a web server with an
// update to download, a name server, a TLS server, a sink for large
// transfers, a mining pool, and the intruder at the far end of a reverse shell. It writes
// what it saw of each conversation as one JSON line, the network half of the
// ground truth.
//
//	peer [-listen ADDRESS] [-programs DIR] [-control SOCKET]
//	peer -ask 'get URL'    make a running peer ask a guest's web server
//	peer -ask 'play FILE'  make it type FILE's lines into the reverse shell
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

func main() {
	var o options
	flag.StringVar(&o.address, "listen", "10.9.9.2", "address to serve on")
	flag.StringVar(&o.programs, "programs", "/lab/programs", "folder of the programs served")
	flag.StringVar(&o.control, "control", "/run/peer.sock", "socket that takes requests of -ask")
	question := flag.String("ask", "", "ask a running peer instead of being one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *question != "" {
		err = ask(o.control, *question, os.Stdout)
	} else {
		err = run(ctx, o, newJournal(os.Stdout))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

type options struct{ address, programs, control string }

// run serves until ctx ends. The ports are those a guest expects.
func run(ctx context.Context, o options, j *journal) error {
	intruder := &shell{j: j}
	services := []struct {
		network, address string
		serve            func(context.Context, net.Listener) error
	}{
		{"tcp4", net.JoinHostPort(o.address, "80"), web{o.programs, j}.serve},
		{"tcp4", net.JoinHostPort(o.address, "443"), secure{j}.serve},
		{"tcp4", net.JoinHostPort(o.address, "3333"), pool{j}.serve},
		{"tcp4", net.JoinHostPort(o.address, "4444"), intruder.serve},
		{"tcp4", net.JoinHostPort(o.address, "9000"), sink{j}.serve},
		{"unix", o.control, control{intruder, j}.serve},
	}
	var group sync.WaitGroup
	errs := make(chan error, len(services)+1)
	start := func(f func() error) {
		group.Go(func() {
			if err := f(); err != nil && ctx.Err() == nil {
				errs <- err
			}
		})
	}
	if err := os.Remove(o.control); err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, s := range services {
		l, err := net.Listen(s.network, s.address)
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { l.Close() })
		start(func() error { return s.serve(ctx, l) })
	}
	dns, err := net.ListenPacket("udp4", net.JoinHostPort(o.address, "53"))
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { dns.Close() })
	start(func() error { return names{j}.serve(dns) })

	select {
	case err := <-errs:
		return err
	case <-ctx.Done():
		group.Wait()
		return nil
	}
}

// accept hands each connection of l to serve, on a goroutine of its own.
func accept(ctx context.Context, l net.Listener, serve func(net.Conn)) error {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			defer c.Close()
			serve(c)
		}()
	}
}
