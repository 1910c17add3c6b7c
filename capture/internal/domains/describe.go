package domains

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/xentape/xentape/capture/internal/xenstore"
	"github.com/xentape/xentape/format"
)

// Xenstore is what xenstore holds of a guest: its own part, and those of the
// toolstack and the backends, one node a line.
func (d *Directory) Xenstore(ctx context.Context, g *Guest) ([]byte, error) {
	text, err := d.Store.Dump(ctx, g.nodes()...)
	return []byte(text), err
}

// KeepXenstore is Xenstore for who asks often.
func (d *Directory) KeepXenstore(g *Guest) *xenstore.Kept { return d.Store.Keep(g.nodes()...) }

// nodes are those of a guest.
func (g *Guest) nodes() []string {
	nodes := []string{
		fmt.Sprintf("/local/domain/%d", g.Domain), fmt.Sprintf("/libxl/%d", g.Domain), "/vm/" + FormatUUID(g.UUID),
	}
	for _, kind := range []string{"vbd", "vif", "console"} {
		nodes = append(nodes, fmt.Sprintf("/local/domain/0/backend/%s/%d", kind, g.Domain))
	}
	return nodes
}

// userdata is where libxl keeps the configuration of a running guest
// (libxl_internal.c, libxl__userdata_path).
const userdata = "/var/lib/xen/userdata-d.%d.%s.libxl-json"

// ConfigFile is where libxl's configuration of the guest is.
func (g *Guest) ConfigFile() string { return fmt.Sprintf(userdata, g.Domain, FormatUUID(g.UUID)) }

// maxConfig bounds a configuration, in bytes.
const maxConfig = 1 << 20

// Config is libxl's configuration of the guest, as JSON.
func (d *Directory) Config(g *Guest) ([]byte, error) {
	open := func(uint16) (*os.File, error) { return os.Open(g.ConfigFile()) }
	if d.OpenConfig != nil {
		open = d.OpenConfig
	}
	f, err := open(g.Domain)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxConfig))
}

// build is what a configuration says of how a guest is started.
type build struct {
	Kernel  string `json:"kernel"`
	Ramdisk string `json:"ramdisk"`
	CmdLine string `json:"cmdline"`
}

func parseBuild(config []byte) (build, error) {
	var c struct {
		Build build `json:"b_info"`
	}
	// libxl writes the string with its terminating NUL.
	if err := json.Unmarshal(bytes.TrimRight(config, "\x00"), &c); err != nil {
		return build{}, fmt.Errorf("libxl configuration: %w", err)
	}
	return c.Build, nil
}

// KernelFile is the kernel that a configuration names; "" for a guest that brings its
// own.
func KernelFile(config []byte) (string, error) {
	b, err := parseBuild(config)
	return b.Kernel, err
}

// HypervisorAttrs are the facts about Xen that go onto a tape.
func (d *Directory) HypervisorAttrs() []format.Attr {
	id := d.Xen.Identity()
	return []format.Attr{
		{Name: "xen-version", Value: id.Version},
		{Name: "xen-changeset", Value: id.Changeset},
		{Name: "xen-compile-date", Value: id.CompileDate},
		{Name: "xen-capabilities", Value: strings.TrimSpace(id.Capabilities)},
		{Name: "xen-command-line", Value: id.CommandLine},
		{Name: "xen-build-id", Value: hex.EncodeToString(id.BuildID)},
		{Name: "domctl-version", Value: fmt.Sprintf("%#x", d.Xen.DomctlVersion())},
	}
}

// KernelAttrs says which kernel a PV or PVH guest was built from, by libxl's
// configuration: the file is in dom0, and symbols can be had for it. A guest that
// brings its own kernel has none. The kernel is hashed without haste until ctx ends.
func (d *Directory) KernelAttrs(ctx context.Context, g *Guest, config []byte) ([]format.Attr, error) {
	if len(config) == 0 {
		return nil, nil
	}
	b, err := parseBuild(config)
	if err != nil || b.Kernel == "" {
		return nil, err
	}
	attrs := []format.Attr{{Name: "kernel", Value: b.Kernel}, {Name: "ramdisk", Value: b.Ramdisk}, {Name: "command-line", Value: b.CmdLine}}
	open := func(uint16) (*os.File, error) { return os.Open(b.Kernel) }
	if d.OpenKernel != nil {
		open = d.OpenKernel
	}
	f, err := open(g.Domain)
	if err != nil {
		return append(attrs, format.Attr{Name: "kernel-unreadable", Value: err.Error()}), nil
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.CopyBuffer(sum, &unhurried{ctx: ctx, from: io.LimitReader(f, maxKernel)}, make([]byte, kernelBlock)); err != nil {
		return append(attrs, format.Attr{Name: "kernel-unreadable", Value: err.Error()}), nil
	}
	return append(attrs, format.Attr{Name: "kernel-sha256", Value: hex.EncodeToString(sum.Sum(nil))}), nil
}

const (
	// maxKernel bounds how much of a kernel file is hashed.
	maxKernel = 512 << 20
	// kernelBlock is how much of it is hashed at once.
	kernelBlock = 128 << 10
)
