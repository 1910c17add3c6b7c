// Package domains knows which guests this host has, and what the toolstack and the
// backends say of them. It believes the control domain's part of xenstore only.
package domains

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/xentape/xentape/capture/internal/hypercall"
	"github.com/xentape/xentape/capture/internal/xenabi"
	"github.com/xentape/xentape/capture/internal/xenstore"
)

// Directory looks guests up.
type Directory struct {
	Xen   *hypercall.Xen
	Store *xenstore.Client
	// OpenConfig and OpenKernel open libxl's configuration of a guest and the kernel
	// it names, where this process may not; nil: this process does.
	OpenConfig, OpenKernel func(domain uint16) (*os.File, error)
}

// Guest is a domain as the toolstack knows it.
type Guest struct {
	Domain uint16
	UUID   [16]byte
	Name   string
	Type   string // "pv", "pvh", "hvm"
	VCPUs  uint32
	Pages  uint64
	Disks  []Disk
	Vifs   []Vif
}

// Disk is a virtual block device, as its backend has it.
type Disk struct {
	VDev           int    // Xen's number: 51712 is xvda
	Name           string // what the guest calls it: "xvda"
	Backend        uint16 // the domain that serves it; only those of dom0 can be recorded here
	PhysicalDevice string // "fd:0": major and minor in hex; empty where the backend is no block device
	Params         string // what the configuration names: "/dev/vg/guest"
	Type           string // "phy", "qdisk", …
	Mode           string // "w" or "r"
}

// Device is the node in /dev of the block device behind a disk.
func (d *Disk) Device() (string, error) {
	major, minor, ok := strings.Cut(d.PhysicalDevice, ":")
	a, err1 := strconv.ParseUint(major, 16, 12)
	b, err2 := strconv.ParseUint(minor, 16, 20)
	if !ok || err1 != nil || err2 != nil {
		return "", fmt.Errorf("no block device: physical-device is %q", d.PhysicalDevice)
	}
	link, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", a, b))
	if err != nil {
		return "", fmt.Errorf("block device %d:%d: %w", a, b, err)
	}
	// The kernel writes "!" for "/" in names such as cciss/c0d0.
	return "/dev/" + strings.ReplaceAll(filepath.Base(link), "!", "/"), nil
}

// Vif is a virtual network interface, as its backend has it.
type Vif struct {
	Handle    int
	Interface string // name in dom0: "vif5.0"
	Backend   uint16
	MAC       string
	Bridge    string
}

// Find finds a guest by name, domain id or UUID.
func (d *Directory) Find(ctx context.Context, what string) (*Guest, error) {
	guests, err := d.Guests(ctx)
	if err != nil {
		return nil, err
	}
	var found []*Guest
	for _, g := range guests {
		if g.Is(what) {
			found = append(found, g)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("guest %q: no such domain", what)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("guest %q: %d domains match; give the UUID", what, len(found))
}

// Is says whether a name, UUID or domain id is the guest's.
func (g *Guest) Is(what string) bool {
	return g.Name == what || strings.EqualFold(FormatUUID(g.UUID), what) || strconv.Itoa(int(g.Domain)) == what
}

// Guests lists the guests that there are, by domain id.
func (d *Directory) Guests(ctx context.Context) ([]*Guest, error) {
	ids, err := d.ids(ctx)
	if err != nil {
		return nil, err
	}
	var guests []*Guest
	for _, id := range ids {
		g, err := d.Guest(ctx, id)
		if goingAway(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		guests = append(guests, g)
	}
	return guests, nil
}

func goingAway(err error) bool {
	return errors.Is(err, hypercall.ErrNoDomain) || errors.Is(err, xenstore.ErrNotExist)
}

// ids lists the domain ids of guests, ascending.
func (d *Directory) ids(ctx context.Context) ([]uint16, error) {
	names, err := d.Store.List(ctx, "/local/domain")
	if err != nil {
		return nil, err
	}
	var ids []uint16
	for _, n := range names {
		id, err := strconv.ParseUint(n, 10, 16)
		if err == nil && id != xenabi.DomID0 && id < xenabi.DomIDFirstReserved {
			ids = append(ids, uint16(id))
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// ByUUID returns the guest with a UUID, nil when there is none. Of several domains that
// have it, it is the latest built: an older one is being destroyed, or has suspended
// itself to go on as the next. While the older one runs, it is the guest: a guest that
// migrates within this host runs until its successor has nearly all of it.
func (d *Directory) ByUUID(ctx context.Context, uuid [16]byte) (*Guest, error) {
	ids, err := d.ids(ctx)
	if err != nil {
		return nil, err
	}
	var next *Guest // being built
	for _, id := range slices.Backward(ids) {
		info, err := d.Xen.DomainInfo(id)
		if err != nil || info.Handle != uuid || info.Gone() {
			continue
		}
		if _, down := info.ShutdownReason(); next != nil && (down || info.Building()) {
			continue
		}
		g, err := d.Guest(ctx, id)
		if goingAway(err) {
			continue
		}
		if err != nil || !info.Building() {
			return g, err
		}
		next = g
	}
	return next, nil
}

// Guest looks at one domain.
func (d *Directory) Guest(ctx context.Context, domain uint16) (*Guest, error) {
	info, err := d.Xen.DomainInfo(domain)
	if err != nil {
		return nil, err
	}
	g := &Guest{Domain: domain, UUID: info.Handle, VCPUs: info.MaxVCPUID + 1, Pages: info.TotalPages}
	if g.Name, err = d.Store.Read(ctx, fmt.Sprintf("/local/domain/%d/name", domain)); err != nil {
		return nil, err
	}
	g.Type = d.guestType(ctx, &info)
	if g.Disks, err = d.disks(ctx, domain); err != nil {
		return nil, err
	}
	g.Vifs, err = d.vifs(ctx, domain)
	return g, err
}

// guestType asks libxl, which alone knows PVH from HVM; without its note, a device
// model makes the difference.
func (d *Directory) guestType(ctx context.Context, info *xenabi.DomainInfo) string {
	if t, err := d.Store.Read(ctx, fmt.Sprintf("/libxl/%d/type", info.Domain)); err == nil && t != "" {
		return t
	}
	if !info.HVM() {
		return "pv"
	}
	if _, err := d.Store.List(ctx, fmt.Sprintf("/local/domain/0/device-model/%d", info.Domain)); err == nil {
		return "hvm"
	}
	return "pvh"
}

// backends lists the backend nodes of a guest's devices of one kind, by device
// number. libxl's own list knows driver domains; without it, dom0's is taken.
func (d *Directory) backends(ctx context.Context, domain uint16, kind string) (map[int]string, error) {
	out := map[int]string{}
	for _, where := range []string{
		fmt.Sprintf("/libxl/%d/device/%s", domain, kind),
		fmt.Sprintf("/local/domain/0/backend/%s/%d", kind, domain),
	} {
		names, err := d.Store.List(ctx, where)
		if errors.Is(err, xenstore.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			number, err := strconv.Atoi(n)
			if err != nil || out[number] != "" {
				continue
			}
			path, err := d.Store.Read(ctx, where+"/"+n+"/backend")
			if err != nil {
				path = where + "/" + n
			}
			if strings.HasPrefix(path, "/local/domain/") {
				out[number] = path
			}
		}
	}
	return out, nil
}

// backendDomain is the domain in whose tree a backend node is.
func backendDomain(path string) uint16 {
	number, _, _ := strings.Cut(strings.TrimPrefix(path, "/local/domain/"), "/")
	id, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return xenabi.DomIDFirstReserved
	}
	return uint16(id)
}

func (d *Directory) disks(ctx context.Context, domain uint16) ([]Disk, error) {
	nodes, err := d.backends(ctx, domain, "vbd")
	if err != nil {
		return nil, err
	}
	var disks []Disk
	for vdev, path := range nodes {
		get := d.getter(ctx, path)
		disks = append(disks, Disk{
			VDev: vdev, Name: get("dev"), Backend: backendDomain(path), PhysicalDevice: get("physical-device"),
			Params: get("params"), Type: get("type"), Mode: get("mode"),
		})
	}
	slices.SortFunc(disks, func(a, b Disk) int { return a.VDev - b.VDev })
	return disks, nil
}

func (d *Directory) vifs(ctx context.Context, domain uint16) ([]Vif, error) {
	nodes, err := d.backends(ctx, domain, "vif")
	if err != nil {
		return nil, err
	}
	var vifs []Vif
	for handle, path := range nodes {
		get := d.getter(ctx, path)
		v := Vif{Handle: handle, Interface: get("vifname"), Backend: backendDomain(path), MAC: get("mac"), Bridge: get("bridge")}
		if v.Interface == "" {
			v.Interface = fmt.Sprintf("vif%d.%d", domain, handle)
		}
		vifs = append(vifs, v)
	}
	slices.SortFunc(vifs, func(a, b Vif) int { return a.Handle - b.Handle })
	return vifs, nil
}

// getter reads nodes below a path; what is not there is empty.
func (d *Directory) getter(ctx context.Context, path string) func(name string) string {
	return func(name string) string {
		v, err := d.Store.Read(ctx, path+"/"+name)
		if err != nil {
			return ""
		}
		return v
	}
}

// FormatUUID writes a UUID as xl does.
func FormatUUID(u [16]byte) string {
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
