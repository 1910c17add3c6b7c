package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

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
		if len(args) > 0 {
			return nil, err
		}
		return e, nil
	}
	defer h.Close()
	major, minor := h.Xen.Release()
	e.add("host", "Xen", yes, "%d.%d, domctl interface %#x", major, minor, h.Xen.DomctlVersion())
	if len(args) == 0 {
		return e, nil
	}
	g, err := h.Find(ctx, args[0])
	if err != nil {
		return nil, err
	}
	e.memory(ctx, h, g)
	e.disks(g)
	e.vifs(g)
	return e, nil
}

// memory says what snapshots of a guest would be like.
func (e *examination) memory(ctx context.Context, h *host.Host, g *host.Guest) {
	e.add(g.Name, "guest", yes, "domain %d, %s, %d vCPUs, UUID %s", g.Domain, g.Type, g.VCPUs, host.FormatUUID(g.UUID))
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
	budget := memory.DefaultPauseBudget
	took := p.FullRead.Round(time.Millisecond)
	switch {
	case p.FullRead <= budget:
		e.add(g.Name, "snapshots of one instant", yes, "reading everything takes about %v, the pause budget is %v", took, budget)
	case p.LogDirty:
		e.add(g.Name, "snapshots of one instant", partly, "reading everything takes about %v, longer than the pause budget of %v: use --track logdirty, or --pause-budget", took, budget)
	default:
		e.add(g.Name, "snapshots of one instant", no, "reading everything takes about %v, longer than the pause budget of %v, and there is no log-dirty (%s): snapshots will be fuzzy unless --pause-budget allows it", took, budget, p.NoLogDirty)
	}
}

// vifs says which interfaces can be recorded here.
func (e *examination) vifs(g *host.Guest) {
	for _, v := range g.Vifs {
		name := fmt.Sprintf("vif%d", v.Handle)
		if v.Backend != 0 {
			e.add(g.Name, name, no, "served by domain %d: record it there", v.Backend)
			continue
		}
		e.check(g.Name, name, interfaceExists(v.Interface), "packets of %s, MAC %s, bridge %s", v.Interface, v.MAC, v.Bridge)
	}
}

// disks says how each disk can be recorded here.
func (e *examination) disks(g *host.Guest) {
	for _, d := range g.Disks {
		switch {
		case d.Backend != 0:
			e.add(g.Name, d.Name, no, "served by domain %d: record it there", d.Backend)
		case d.Type != "phy":
			e.add(g.Name, d.Name, no, "backend type %s: only block devices served by blkback can be recorded", d.Type)
		case d.PhysicalDevice == "":
			e.add(g.Name, d.Name, no, "the backend has not opened %s", d.Params)
		default:
			if why := blockCapture(); why != "" {
				e.add(g.Name, d.Name, no, "%s, device %s: %s", d.Params, d.PhysicalDevice, why)
			} else {
				e.add(g.Name, d.Name, yes, "%s, device %s: requests with payload", d.Params, d.PhysicalDevice)
			}
		}
	}
}
