package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xentape/xentape/capture/disk"
	"github.com/xentape/xentape/capture/host"
	"github.com/xentape/xentape/capture/memory"
)

// finding is one thing that doctor looked at.
type finding struct {
	Subject string `json:"subject"` // "host", or the guest's name
	Check   string `json:"check"`
	State   string `json:"state"` // "yes", "partly", "no", "unknown"
	Detail  string `json:"detail"`
}

// The states of a finding.
const (
	yes     = "yes"
	partly  = "partly"
	no      = "no"
	unknown = "unknown"
)

// examination collects findings.
type examination struct {
	found []finding
}

func (e *examination) add(subject, check, state, detail string, args ...any) {
	e.found = append(e.found, finding{subject, check, state, fmt.Sprintf(detail, args...)})
}

// check adds yes with a detail, or no with the error.
func (e *examination) check(subject, check string, err error, detail string, args ...any) {
	if err != nil {
		e.add(subject, check, no, "%v", err)
		return
	}
	e.add(subject, check, yes, detail, args...)
}

func (e *examination) complete() bool {
	for _, f := range e.found {
		if f.State != yes {
			return false
		}
	}
	return true
}

func newDoctorCommand(c *console) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [DOMAIN]",
		Short: "What this host and guest allow, each with its reason",
		Long: `Look at what recording would hold and what not: the host alone, or the host and one
guest. Nothing is changed and no guest is paused. Exit status 3 says that something
is not, or only partly, to be had.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("usage: xentaped doctor [DOMAIN]")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := examine(cmd.Context(), args)
			if err != nil {
				return err
			}
			if err := e.print(c, asJSON); err != nil {
				return err
			}
			if !e.complete() {
				return errIncomplete
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one object a line")
	return cmd
}

func (e *examination) print(c *console, asJSON bool) error {
	enc := json.NewEncoder(c.out)
	for _, f := range e.found {
		if asJSON {
			if err := enc.Encode(f); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprintf(c.out, "%-8s %s: %s: %s\n", f.State, f.Subject, f.Check, f.Detail); err != nil {
			return err
		}
	}
	return nil
}

func examine(ctx context.Context, args []string) (*examination, error) {
	e := &examination{}
	e.kernel()
	h, err := host.Open(host.Options{})
	e.check("host", "hypervisor and xenstore", err, "reached")
	if err != nil {
		return e, nil
	}
	defer h.Close()
	major, minor := h.Xen.Release()
	e.add("host", "Xen", yes, "%d.%d, domctl interface %#x", major, minor, h.Xen.DomctlVersion())
	if len(args) == 0 {
		return e, nil
	}
	return e, e.guest(ctx, h, args[0])
}

// guest looks at one guest, and says in the end what a recording of it would hold.
func (e *examination) guest(ctx context.Context, h *host.Host, what string) error {
	g, err := h.Find(ctx, what)
	if err != nil {
		return err
	}
	e.add(g.Name, "guest", yes, "domain %d, %s, %d vCPUs, UUID %s", g.Domain, g.Type, g.VCPUs, host.FormatUUID(g.UUID))
	from := len(e.found)
	e.memory(ctx, h, g)
	e.disks(g)
	e.vifs(g)
	e.others(ctx, h, g)
	e.sum(g.Name, e.found[from:])
	return nil
}

// sum says of a guest what a recording would hold, hold in part, and lack.
func (e *examination) sum(guest string, found []finding) {
	checks := map[string][]string{}
	for _, f := range found {
		checks[f.State] = append(checks[f.State], f.Check)
	}
	state, text := yes, []string{}
	for _, part := range []struct{ state, is, what string }{
		{yes, yes, "will hold: "}, {partly, partly, "will hold in part: "}, {no, partly, "will not hold: "},
	} {
		if names := checks[part.state]; len(names) > 0 {
			state = part.is
			text = append(text, part.what+strings.Join(names, ", "))
		}
	}
	if len(checks[yes])+len(checks[partly]) == 0 {
		state = no
	}
	e.add(guest, "recording", state, "%s", strings.Join(text, "; "))
}

// memory says what snapshots of a guest would be like.
func (e *examination) memory(ctx context.Context, h *host.Host, g *host.Guest) {
	p, err := memory.Probe(ctx, h.Xen, g.Domain)
	var pod *memory.PoDError
	if errors.As(err, &pod) {
		e.add(g.Name, "memory", no, "%v (--allow-populate-on-demand)", err)
		return
	}
	if err != nil {
		e.add(g.Name, "memory", no, "%v", err)
		return
	}
	state := yes
	if p.Unreadable > 0 {
		state = partly
	}
	e.add(g.Name, "memory", state, "%d MiB by %s; of %d pages tried %d cannot be read", p.Bytes()>>20, addressing(g.Type), p.Tried, p.Unreadable)
	e.consistency(g, p)
	if p.Grants != "" {
		e.add(g.Name, "grant table", no, "%s", p.Grants)
	}
}

func addressing(guestType string) string {
	if guestType == "pv" {
		return "the guest's own p2m"
	}
	return "guest frame number"
}

// consistency says whether a snapshot fits the default pause.
func (e *examination) consistency(g *host.Guest, p *memory.Prospect) {
	const check = "snapshots of one instant"
	took, budget := p.FullRead.Round(time.Millisecond), memory.DefaultPauseBudget
	if p.FullRead <= budget {
		e.add(g.Name, check, yes, "reading everything takes about %v, the pause budget is %v", took, budget)
		return
	}
	// Reading may take twice as long in the pause, beside a guest's other users of the host.
	enough := (2*p.FullRead + time.Second).Truncate(time.Second)
	over := fmt.Sprintf("reading everything takes about %v, longer than the pause budget of %v", took, budget)
	fuzzy := "a snapshot is fuzzy, its pages of different moments"
	if p.LogDirty {
		e.add(g.Name, check, partly, "%s: with --track logdirty only what changed is read in the pause, else %s unless --pause-budget %v lets the guest stand still as long", over, fuzzy, enough)
		return
	}
	e.add(g.Name, check, no, "%s, and there is no log-dirty (%s): %s unless --pause-budget %v lets the guest stand still as long", over, p.NoLogDirty, fuzzy, enough)
}

// elsewhere is what is said of a device that another domain serves.
func elsewhere(backend uint16) string {
	return fmt.Sprintf("served by domain %d: record it there", backend)
}

// vifs says which interfaces can be recorded here.
func (e *examination) vifs(g *host.Guest) {
	for _, v := range g.Vifs {
		if v.Backend != 0 {
			e.add(g.Name, vifName(&v), no, "%s", elsewhere(v.Backend))
			continue
		}
		e.check(g.Name, vifName(&v), interfaceExists(v.Interface), "packets of %s, MAC %s, bridge %s", v.Interface, v.MAC, v.Bridge)
		// libxl names the tap of the emulated twin so (libxl_nic.c).
		if twin := v.Interface + "-emu"; interfaceExists(twin) == nil {
			e.add(g.Name, twin, no, "packets of the emulated interface, which a guest uses until its own drivers for Xen are loaded, are not recorded")
		}
	}
}

// disks says how each disk can be recorded here.
func (e *examination) disks(g *host.Guest) {
	for _, d := range g.Disks {
		if d.Backend != 0 {
			e.add(g.Name, d.Name, no, "%s", elsewhere(d.Backend))
			continue
		}
		device, err := d.Device()
		if err != nil {
			e.add(g.Name, d.Name, no, "%s, backend type %s: %v: what is attached as phy: can be recorded", d.Params, d.Type, err)
			continue
		}
		p, err := disk.New(disk.Config{Device: device, Blkback: d.Type == "phy"}).Probe()
		switch {
		case err != nil:
			e.add(g.Name, d.Name, no, "%s: %v", d.Params, err)
		case p.NoPayload != nil && lockedDown():
			e.add(g.Name, d.Name, no, "%s: %v; and lockdown closes the block tracer", d.Params, p.NoPayload)
		case p.NoPayload != nil:
			e.add(g.Name, d.Name, partly, "%s, device %s, %d MiB: requests without their content, by the block tracer: %v", d.Params, device, p.Size>>20, p.NoPayload)
		default:
			e.add(g.Name, d.Name, yes, "%s, device %s, %d MiB: requests with their content, and an image at the beginning", d.Params, device, p.Size>>20)
		}
	}
}

// carriers are devices by which a guest takes in and gives out what no tape has, by
// libxl's names for them (libxl_types_internal.idl, libxl__device_kind).
var carriers = map[string]string{
	"pci":     "a device passed through: what it carries is not seen, and what it writes into memory is found by content only, not by --track logdirty",
	"vusb":    "USB devices passed through are not recorded",
	"qusb":    "USB devices passed through are not recorded",
	"vscsi":   "SCSI devices passed through are not recorded",
	"9pfs":    "file systems of this host shared with the guest are not recorded",
	"virtio":  "devices served over virtio are not recorded",
	"vtpm":    "the guest's TPM is not recorded",
	"pvcalls": "sockets that the guest has this host open are not recorded",
}

// others says which of a guest's devices are neither disk nor interface.
func (e *examination) others(ctx context.Context, h *host.Host, g *host.Guest) {
	kinds, err := h.Store.List(ctx, fmt.Sprintf("/libxl/%d/device", g.Domain))
	if err != nil {
		return // a toolstack other than libxl keeps no such list
	}
	for _, kind := range kinds {
		if what := carriers[kind]; what != "" {
			e.add(g.Name, kind, no, "%s", what)
		}
	}
}
