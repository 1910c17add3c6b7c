// Command xentaped records the guests of a Xen host: memory, disks, network and
// what happens to them. It runs in dom0, interprets nothing of what it records, and
// never makes a guest wait.
package main

//go:generate sh -c "go run . manual >service/xentaped.8 && go run . manual --configuration >service/xentaped.yaml.5"

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
