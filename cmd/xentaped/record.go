package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/capture/disk"
	"github.com/xentape/xentape/capture/host"
	"github.com/xentape/xentape/capture/lifecycle"
	"github.com/xentape/xentape/capture/memory"
	"github.com/xentape/xentape/capture/sandbox"
	"github.com/xentape/xentape/format"
)

// recordOptions are the flags of record.
type recordOptions struct {
	output    string
	tape      tapeOptions
	every     time.Duration
	snapshots int
	length    time.Duration
	budget    time.Duration
	track     string
	audit     int
	allowPoD  bool
	force     bool
	noMemory  bool
	vifs      []int
	disks     []string
	noDisk    bool
	noBase    bool
	noReads   bool
	diskRing  int
	noNetwork bool
	noSandbox bool
	profile   string
	reserve   string
	spool     string
}

func newRecordCommand(c *console) *cobra.Command {
	var o recordOptions
	cmd := &cobra.Command{
		Use:   "record DOMAIN -o TAPE",
		Short: "Record one guest until interrupted",
		Long: `Record one guest, named by name, domain id or UUID, onto a tape.

SIGINT and SIGTERM complete the tape; SIGUSR1, or "xentaped snapshot DOMAIN", takes a
memory snapshot now. Whatever ends the recorder, the guest runs on and the tape is
readable up to the last second.`,
		Example: `  xentaped record web -o web.xtape --snapshot-every 1m
  xentaped record web -o web.xtape --for 10m --recipient age1... --sign /etc/xentape/sign.key`,
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runRecord(cmd.Context(), c, args[0], o) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "", "the tape to write; it must not exist (required)")
	f.DurationVar(&o.every, "snapshot-every", 0, "time between memory snapshots; 0 takes only the first")
	f.IntVar(&o.snapshots, "snapshots", -1, "how many snapshots to take unasked; -1 has no limit, 0 takes them on request only")
	f.DurationVar(&o.length, "for", 0, "end after this time; 0 records until interrupted")
	f.StringArrayVar(&o.tape.recipients, "recipient", nil, "encrypt to this age public key; may be repeated")
	f.StringVar(&o.tape.signKey, "sign", "", "sign with the key in this file, which moves on with each signature; made if absent")
	f.DurationVar(&o.budget, "pause-budget", memory.DefaultPauseBudget, "longest time the guest may be paused for a snapshot")
	f.StringVar(&o.track, "track", string(memory.TrackHash), "how changed memory is found: hash, or logdirty (HVM and PVH)")
	f.IntVar(&o.audit, "audit-every", memory.DefaultAuditEvery, "with --track logdirty, snapshots between full comparisons; -1 never")
	f.BoolVar(&o.allowPoD, "allow-populate-on-demand", false, "read guests whose memory is populated on demand, though it can crash them")
	f.BoolVar(&o.force, "force-domctl-abi", false, "go on with a Xen whose domctl version was never checked")
	f.StringArrayVar(&o.disks, "disk", nil, "record this disk, by the name the guest has for it; may be repeated; all without it")
	f.BoolVar(&o.noDisk, "no-disk", false, "record no disk requests")
	f.BoolVar(&o.noBase, "no-base", false, "take no image of the disks at the beginning")
	f.BoolVar(&o.noReads, "no-reads", false, "leave out read requests, which have no payload on the tape")
	f.IntVar(&o.diskRing, "disk-ring", disk.DefaultRing, "bytes of kernel memory for the requests of one disk; a power of two")
	f.IntSliceVar(&o.vifs, "vif", nil, "record this interface, by its handle; may be repeated; all without it")
	f.BoolVar(&o.noNetwork, "no-network", false, "record no packets")
	f.BoolVar(&o.noMemory, "no-memory", false, "take no memory snapshots")
	f.BoolVar(&o.noSandbox, "no-sandbox", false, "keep all privileges in one process; for kernels on which it cannot give them up")
	f.StringVar(&o.reserve, "reserve", "256MiB", "room of the tape's file system that is never used; with less, recording is suspended")
	f.StringVar(&o.spool, "spool", "1GiB", "how much of a snapshot may wait beside the tape, in TAPE.spool, to be hashed and compressed; 0: none; none with --recipient")
	f.StringVar(&o.profile, "cpu-profile", "", "write where the recorder spends its time to this file, for go tool pprof")
	return cmd
}

func (o *recordOptions) check() error {
	if o.output == "" {
		return usagef("record: -o TAPE is required")
	}
	if t := memory.Tracking(o.track); t != memory.TrackHash && t != memory.TrackLogDirty {
		return usagef("--track %s: not hash or logdirty", o.track)
	}
	if _, err := parseSize(o.reserve); err != nil {
		return usagef("--reserve %s: %w", o.reserve, err)
	}
	if _, err := parseSize(o.spool); err != nil {
		return usagef("--spool %s: %w", o.spool, err)
	}
	if o.budget <= 0 {
		return usagef("--pause-budget %v: not positive", o.budget)
	}
	return nil
}

func (o *recordOptions) sources() sources {
	return sources{
		network: !o.noNetwork, vifs: o.vifs,
		disk: !o.noDisk, disks: o.disks, base: !o.noBase, reads: !o.noReads, ring: o.diskRing,
		memory: !o.noMemory,
		memConfig: memory.Config{
			Automatic: o.snapshots, Every: o.every, PauseBudget: o.budget,
			Tracking: memory.Tracking(o.track), AuditEvery: o.audit, AllowPoD: o.allowPoD,
		},
	}
}

// tapeOptions are how the tape is written. The sizes have been checked.
func (o *recordOptions) tapeOptions() tapeOptions {
	t := o.tape
	room, _ := parseSize(o.spool)
	reserve, _ := parseSize(o.reserve)
	t.spool, t.reserve, t.patient = int64(room), int64(reserve), true
	return t
}

// sandbox is what the recorder still needs of the file system: a signing key moves on.
func (o *recordOptions) sandbox() sandbox.Rules {
	if o.tape.signKey == "" {
		return sandbox.Rules{}
	}
	return sandbox.Rules{Write: []string{filepath.Dir(o.tape.signKey)}, Create: true}
}

// goneFor is how long a guest may be away, as in a reboot, before its recording ends.
const goneFor = 60 * time.Second

func runRecord(ctx context.Context, c *console, what string, o recordOptions) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	h, privs, err := openHost(host.Options{ForceDomctl: o.force}, o.noSandbox, []string{what}, spoolOf(o.output))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close(), privs.Close()) }()
	g, err := h.Find(ctx, what)
	if err != nil {
		return err
	}
	socket, err := listen(socketPath(g.UUID))
	if err != nil {
		return err
	}
	defer socket.Close()
	keeper, err := startGuard(h.Xen, o.force)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, keeper.Close()) }()
	clock, err := capture.NewClock()
	if err != nil {
		return err
	}
	tape, err := createTape(o.output, o.tapeOptions(), clock)
	if err != nil {
		return err
	}
	stop, err := profile(o.profile)
	if err != nil {
		return errors.Join(err, tape.Close())
	}
	defer func() { err = errors.Join(err, stop()) }()
	privs.giveUp(c, o.sandbox())
	recorder := capture.NewRecorder(tape, clock, capture.RecorderOptions{Report: c.notef})
	s := &session{
		host: h, privs: privs, guard: keeper, recorder: recorder, clock: clock, want: o.sources(),
		console: c, uuid: g.UUID, started: time.Now(), devices: map[string]capture.Source{},
	}
	return s.record(ctx, g, o, tape, func(ctx context.Context) {
		serve(ctx, socket, func(ctx context.Context, cmd command) answer {
			return s.handle(ctx, cmd, s.snapshot, func() *status {
				st := &status{Guest: g.Name, Tape: o.output, Bytes: tape.size()}
				s.fill(st)
				return st
			})
		})
	})
}

// record runs the session until it is to end.
func (s *session) record(ctx context.Context, g *host.Guest, o recordOptions, tape *tapeFile, control func(context.Context)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.length > 0 {
		ctx, cancel = context.WithTimeout(ctx, o.length)
		defer cancel()
	}
	defer context.AfterFunc(ctx, tape.hurry)()
	startEvent(s.recorder, g,
		format.Attr{Name: "snapshot-every", Value: o.every.String()},
		format.Attr{Name: "pause-budget", Value: o.budget.String()},
		format.Attr{Name: "track", Value: o.track}, s.privs.attr(),
	)
	life := lifecycle.New(lifecycle.Config{Directory: s.host.Directory, Clock: s.clock, UUID: g.UUID, OnChange: s.changed})
	s.add(ctx, life)
	s.start(ctx, g, 0)
	go control(ctx)
	go s.attend(ctx, cancel)
	reserve, err := parseSize(o.reserve)
	if err != nil {
		return err
	}
	// The recorder ends after the watch over the room has put its last gap on the tape.
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	go func() {
		defer end()
		s.watchRoom(ctx, tape.room, int64(reserve))
	}()
	s.console.notef("recording %s (domain %d, %s) onto %s", g.Name, g.Domain, g.Type, o.output)
	if err := s.recorder.Run(running); err != nil {
		return err
	}
	s.console.notef("%s is complete: %d bytes", o.output, fileSize(o.output))
	if !s.whole() {
		return errIncomplete
	}
	return nil
}

// attend takes snapshots on SIGUSR1 and ends the recording of a guest that does not
// come back.
func (s *session) attend(ctx context.Context, end context.CancelFunc) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, unix.SIGUSR1)
	defer signal.Stop(asked)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
			go func() {
				if err := s.snapshot(ctx); err != nil {
					s.console.notef("snapshot: %v", err)
				}
			}()
		case <-tick.C:
			if s.absence() > goneFor {
				s.console.notef("the guest has been gone for %v: the recording ends", goneFor)
				end()
				return
			}
		}
	}
}

func fileSize(name string) int64 {
	info, err := os.Stat(name)
	if err != nil {
		return 0
	}
	return info.Size()
}

func newSnapshotCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "snapshot DOMAIN",
		Short: "Have the recorder of a guest take a memory snapshot now, and wait for it",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := askGuest(cmd.Context(), args[0], command{Verb: "snapshot"})
			if err != nil {
				return err
			}
			if m := a.Status.Memory; m != nil {
				paused := time.Duration(m.Last.Unpause - m.Last.PauseCall)
				fmt.Fprintf(c.out, "snapshot %d: %d pages changed, paused for %v, %s; captured after %v, on the tape after %v\n",
					m.LastID, m.Last.Changed, paused.Round(time.Microsecond), consistency(&m.Last),
					m.LastCaptured.Round(time.Millisecond), m.LastTaken.Round(time.Millisecond))
			}
			return nil
		},
	}
}

func consistency(c *format.Conditions) string {
	if c.Fuzzy {
		return "fuzzy"
	}
	return "one instant"
}

// askGuest finds the recorder of a guest and asks it.
func askGuest(ctx context.Context, what string, c command) (*answer, error) {
	h, err := host.Open(host.Options{})
	if err != nil {
		return nil, err
	}
	defer h.Close()
	g, err := h.Find(ctx, what)
	if err != nil {
		return nil, err
	}
	return ask(ctx, socketPath(g.UUID), c)
}
