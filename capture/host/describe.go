package host

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/xentape/xentape/format"
)

// Xenstore is what xenstore holds of a guest: its own part, and those of the
// toolstack and the backends, one node a line.
func (h *Host) Xenstore(ctx context.Context, g *Guest) ([]byte, error) {
	var b strings.Builder
	var errs []error
	roots := []string{
		fmt.Sprintf("/local/domain/%d", g.Domain), fmt.Sprintf("/libxl/%d", g.Domain), "/vm/" + FormatUUID(g.UUID),
	}
	for _, kind := range []string{"vbd", "vif", "console"} {
		roots = append(roots, fmt.Sprintf("/local/domain/0/backend/%s/%d", kind, g.Domain))
	}
	for _, root := range roots {
		text, err := h.Store.Dump(ctx, root)
		errs = append(errs, err)
		b.WriteString(text)
	}
	return []byte(b.String()), errors.Join(errs...)
}

// userdata is where libxl keeps the configuration of a running guest
// (libxl_internal.c, libxl__userdata_path).
const userdata = "/var/lib/xen/userdata-d.%d.%s.libxl-json"

// Config is libxl's configuration of the guest, as JSON.
func (g *Guest) Config() ([]byte, error) {
	return os.ReadFile(fmt.Sprintf(userdata, g.Domain, FormatUUID(g.UUID)))
}

// HypervisorAttrs are the facts about Xen that go onto a tape.
func (h *Host) HypervisorAttrs() []format.Attr {
	id := h.Xen.Identity()
	return []format.Attr{
		{Name: "xen-version", Value: id.Version},
		{Name: "xen-changeset", Value: id.Changeset},
		{Name: "xen-compile-date", Value: id.CompileDate},
		{Name: "xen-capabilities", Value: strings.TrimSpace(id.Capabilities)},
		{Name: "xen-command-line", Value: id.CommandLine},
		{Name: "xen-build-id", Value: hex.EncodeToString(id.BuildID)},
		{Name: "domctl-version", Value: fmt.Sprintf("%#x", h.Xen.DomctlVersion())},
	}
}
