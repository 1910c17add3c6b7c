package main

import (
	"errors"
	"net"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture/guard"
	"github.com/xentape/xentape/capture/host"
)

// stateDir holds the guard's marks and the control sockets: what the service manager
// says, by default /run/xentape. It must not outlive a boot.
func stateDir() string {
	if d := os.Getenv("RUNTIME_DIRECTORY"); d != "" {
		return d
	}
	return "/run/xentape"
}

// newGuardCommand is the guard process: record and run start it, nobody else.
func newGuardCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:    "guard",
		Short:  "End pauses when the recorder does not (started by record and run)",
		Hidden: true,
		Args:   exactly(0),
		RunE:   func(*cobra.Command, []string) error { return runGuard(force) },
	}
	cmd.Flags().BoolVar(&force, "force-domctl-abi", false, "")
	return cmd
}

func runGuard(force bool) error {
	// The guard ends when its recorder does, and only then.
	signal.Ignore(os.Interrupt, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE)
	// Of all processes it should be the last that the kernel kills for memory.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-900"), 0)
	f := os.NewFile(guard.FD, "recorder")
	conn, err := net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return usagef("guard is started by record and run: %w", err)
	}
	defer conn.Close()
	x, err := host.OpenXen(host.Options{ForceDomctl: force})
	if err != nil {
		return err
	}
	return errors.Join(guard.Serve(conn, x, guard.Marks(stateDir())), x.Close())
}

// startGuard starts the guard as a process of its own.
func startGuard(rescue guard.Hypervisor, force bool) (*guard.Client, error) {
	args := []string{"guard"}
	if force {
		args = append(args, "--force-domctl-abi")
	}
	return guard.Start(rescue, "/proc/self/exe", args...)
}

// newUnpauseMarkedCommand is what the service manager runs after a recorder and its
// guard were both killed.
func newUnpauseMarkedCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "unpause-marked",
		Short: "End pauses that a recorder and its guard, both killed, left behind",
		Args:  exactly(0),
		RunE: func(*cobra.Command, []string) error {
			x, err := host.OpenXen(host.Options{})
			if err != nil {
				return err
			}
			done, err := guard.UnpauseMarked(guard.Marks(stateDir()), x)
			for _, d := range done {
				c.notef("domain %d had been left paused: it runs again", d)
			}
			return errors.Join(err, x.Close())
		},
	}
}
