// Command peer is everyone a guest of the lab talks to: a web server with
// updates to download, a name server, a TLS server, the far end of a reverse
// shell and a sink for large transfers. It writes what it saw of each
// conversation as one JSON line, the network half of the ground truth.
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
	address := flag.String("listen", "10.9.9.2", "address to serve on")
	payload := flag.String("dropper", "", "program served as /update.bin")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *address, *payload, newJournal(os.Stdout)); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

// run serves on address until ctx ends. The ports are those a guest expects.
func run(ctx context.Context, address, payload string, j *journal) error {
	services := []struct {
		port  int
		serve func(context.Context, net.Listener) error
	}{
		{80, web{payload, j}.serve},
		{443, secure{j}.serve},
		{4444, shell{j}.serve},
		{9000, sink{j}.serve},
	}
	var group sync.WaitGroup
	errs := make(chan error, len(services)+1)
	start := func(f func() error) {
		group.Add(1)
		go func() {
			defer group.Done()
			if err := f(); err != nil && ctx.Err() == nil {
				errs <- err
			}
		}()
	}
	for _, s := range services {
		l, err := net.Listen("tcp4", net.JoinHostPort(address, fmt.Sprint(s.port)))
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { l.Close() })
		start(func() error { return s.serve(ctx, l) })
	}
	dns, err := net.ListenPacket("udp4", net.JoinHostPort(address, "53"))
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
