package linux

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/xentape/xentape/analyze/internal/linux/types"
)

// Mismatch says that the symbol file given is not of the guest's kernel.
type Mismatch struct{ File, Guest string }

func (m *Mismatch) Error() string {
	return fmt.Sprintf("symbol file does not match: it is for %q, the guest runs %q", m.File, m.Guest)
}

// maxBTF bounds type information: 7.x distribution kernels have 5 MiB.
const maxBTF = 64 << 20

// external is type information given by the user.
type external struct {
	isf     *types.ISF
	btf     *types.BTF
	buildID string // of the ELF file the BTF came in, "" when it has none
	banner  string // its linux_banner, "" when it has no symbols
}

// parseSymbols recognises the form of a symbol file; nil when there is none.
func parseSymbols(b []byte) (*external, error) {
	if b == nil {
		return nil, nil
	}
	x := &external{}
	b, err := decompress(b)
	switch {
	case err != nil:
	case len(b) == 0:
		err = errors.New("is empty")
	case bytes.HasPrefix(b, []byte("\x9f\xeb")):
		x.btf, err = types.ParseBTF(b)
	case bytes.HasPrefix(b, []byte(elf.ELFMAG)):
		err = x.elf(b)
	case b[0] == '{':
		x.isf, err = types.ParseISF(b)
	default:
		err = errors.New("is neither BTF, nor ELF, nor ISF (JSON)")
	}
	if err != nil {
		return nil, fmt.Errorf("symbol file: %w", err)
	}
	return x, nil
}

// maxSymbols bounds a symbol file once decompressed: the ISF of a distribution
// kernel is some 60 MB, a vmlinux with debug information up to 800 MB.
const maxSymbols = 1 << 30

// decompress undoes the compression that symbol files are handed around in.
func decompress(b []byte) ([]byte, error) {
	var r io.Reader
	switch {
	case bytes.HasPrefix(b, []byte("\x1f\x8b")):
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		r = z
	case bytes.HasPrefix(b, []byte("\x28\xb5\x2f\xfd")):
		z, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	case bytes.HasPrefix(b, []byte("\xfd7zXZ")):
		return nil, errors.New("is compressed with xz: decompress it first")
	default:
		return b, nil
	}
	out, err := io.ReadAll(io.LimitReader(r, maxSymbols+1))
	if err == nil && len(out) > maxSymbols {
		err = fmt.Errorf("is larger than %d bytes", maxSymbols)
	}
	return out, err
}

// elf reads a vmlinux: its types, and what tells which kernel it is.
func (x *external) elf(b []byte) error {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return err
	}
	s := f.Section(".BTF")
	if s == nil || s.Size > maxBTF {
		return errors.New("ELF file has no usable .BTF section (pahole -J makes one from its debug information)")
	}
	raw, err := s.Data()
	if err != nil {
		return err
	}
	x.btf, err = types.ParseBTF(raw)
	x.buildID, x.banner = fileBuildID(f), fileBanner(f)
	return err
}

// ownBTF reads the type information every kernel with CONFIG_DEBUG_INFO_BTF
// maps, between two symbols of its linker script.
func (k *Kernel) ownBTF() error {
	lo, ok1 := k.Symbol("__start_BTF")
	hi, ok2 := k.Symbol("__stop_BTF")
	if !ok1 || !ok2 {
		return errors.New("the kernel has no BTF (built without CONFIG_DEBUG_INFO_BTF): give its types with --symbols")
	}
	if hi <= lo || hi-lo > maxBTF {
		return fmt.Errorf("__start_BTF %#x and __stop_BTF %#x enclose no plausible type information", lo, hi)
	}
	raw := make([]byte, hi-lo)
	if _, err := k.Space.Read(lo, raw); err != nil {
		return fmt.Errorf("BTF: %w", err)
	}
	t, err := types.ParseBTF(raw)
	if err != nil {
		return err
	}
	if err := types.Require(t, "task_struct.tasks", "task_struct.comm", "task_struct.pid", "task_struct.real_parent"); err != nil {
		return err
	}
	k.Types = t
	k.step("types", "BTF in guest memory at %#x: %d bytes, %d types", lo, len(raw), t.Types())
	return nil
}

// placeISF finds how far the kernel was moved from where the file has it, and
// checks that its banner is there.
func (k *Kernel) placeISF(x *types.ISF) error {
	k.isf = x
	linked, ok := x.Symbol("_stext")
	if !ok {
		return errors.New("ISF file has no _stext")
	}
	at, ok := uint64(0), false
	if k.table != nil {
		at, ok = k.Symbol("_stext")
	} else if k.Info != nil {
		at, ok = k.Info.Symbol("_stext")
	}
	if !ok {
		return errors.New("_stext is not known, so the ISF file's addresses cannot be placed")
	}
	k.slide = at - linked
	b, ok := x.Symbol("linux_banner")
	if !ok {
		return errors.New("ISF file has no linux_banner")
	}
	banner, err := k.Space.CString(b+k.slide, 512)
	if err != nil || !strings.HasPrefix(banner, bannerStart) {
		return &Mismatch{File: strings.TrimSpace(x.Banner()), Guest: "unknown: linux_banner is elsewhere"}
	}
	if k.Banner == "" {
		k.Banner = strings.TrimSpace(banner)
	}
	k.step("symbols", "ISF file moved by %#x, linux_banner in place", k.slide)
	return nil
}
