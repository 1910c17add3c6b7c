package linux

import (
	"errors"
	"fmt"
	"strings"

	"github.com/xentape/xentape/analyze/internal/linux/kallsyms"
	"github.com/xentape/xentape/analyze/internal/linux/phys"
)

const bannerStart = "Linux version "

// The image of a kernel is less than 1 GiB (KERNEL_IMAGE_SIZE), in practice some
// 30 to 60 MiB.
const (
	kernelMapSize = 1 << 30
	maxImage      = 160 << 20
	maxHole       = 32 << 20
	probeStep     = 2 << 20 // CONFIG_PHYSICAL_ALIGN of every distribution
)

// findSymbols finds kallsyms by VMCOREINFO, else by structure, else falls back
// to the addresses of an ISF file.
func (k *Kernel) findSymbols(x *external) error {
	var failed []error
	for _, way := range []func() ([]kallsyms.Location, string, error){k.located, k.searched} {
		locs, how, err := way()
		if err != nil {
			failed = append(failed, err)
			continue
		}
		err = k.decode(locs, how)
		if err == nil {
			return nil
		}
		failed = append(failed, fmt.Errorf("kallsyms by %s: %w", how, err))
	}
	if x != nil && x.isf != nil {
		if err := k.placeISF(x.isf); err != nil {
			failed = append(failed, err)
		} else {
			return nil
		}
	}
	return errors.Join(failed...)
}

// located takes the addresses VMCOREINFO has since 6.0.
func (k *Kernel) located() ([]kallsyms.Location, string, error) {
	if k.Info == nil {
		return nil, "", errors.New("no VMCOREINFO to give the symbol table's address")
	}
	var l kallsyms.Location
	for name, at := range map[string]*uint64{"names": &l.Names, "num_syms": &l.NumSyms, "token_table": &l.TokenTable, "token_index": &l.TokenIndex, "offsets": &l.Offsets} {
		a, ok := k.Info.Symbol("kallsyms_" + name)
		if !ok {
			return nil, "", errors.New("VMCOREINFO has no kallsyms addresses (kernel before 6.0)")
		}
		*at = a
	}
	l.RelativeBase, _ = k.Info.Symbol("kallsyms_relative_base")
	return []kallsyms.Location{l}, "VMCOREINFO", nil
}

// searched finds the table by its structure in the mapped kernel image.
func (k *Kernel) searched() ([]kallsyms.Location, string, error) {
	base, image, err := k.image()
	if err != nil {
		return nil, "", err
	}
	locs, err := kallsyms.Locate(image, base)
	return locs, fmt.Sprintf("structure in the %d MiB image at %#x", len(image)>>20, base), err
}

// image copies the kernel's image. Pages that are not mapped read as zero, as
// those freed after boot are.
func (k *Kernel) image() (base uint64, image []byte, err error) {
	base, ok := uint64(0), false
	if k.Info != nil {
		base, ok = k.Info.Symbol("_stext")
	}
	if !ok {
		for base = kernelMap; ; base += probeStep {
			if base-kernelMap >= kernelMapSize {
				return 0, nil, fmt.Errorf("nothing is mapped in the kernel map at %#x", uint64(kernelMap))
			}
			if _, err := k.Space.Translate(base); err == nil {
				break
			}
		}
	}
	base &^= phys.PageSize - 1
	end := base // after the last page that is mapped
	for va := base; va-base < maxImage && va-kernelMap < kernelMapSize && va-end < maxHole; va += phys.PageSize {
		if _, err := k.Space.Translate(va); err == nil {
			end = va + phys.PageSize
		}
	}
	image, read := make([]byte, end-base), false
	for o := uint64(0); o < end-base; o += phys.PageSize {
		if _, err := k.Space.Read(base+o, image[o:o+phys.PageSize]); err == nil {
			read = true
		}
	}
	if !read {
		return 0, nil, fmt.Errorf("the kernel's image at %#x cannot be read", base)
	}
	return base, image, nil
}

// decode settles which place and encoding is right: linux_banner must be the
// banner, and _stext where VMCOREINFO has it. One check alone is not enough: with
// offsets read one entry off, _stext can still look right, because _text has the
// same address.
func (k *Kernel) decode(locs []kallsyms.Location, how string) error {
	err := errors.New("no candidate")
	for _, loc := range locs {
		t, lerr := kallsyms.Load(k.Space, loc)
		if lerr != nil {
			err = lerr
			continue
		}
		at := t.Index(map[string]bool{"linux_banner": true, "_stext": true, "__start_BTF": true})
		bi, ok := at["linux_banner"]
		if !ok {
			err = fmt.Errorf("%d symbols without linux_banner: kernel built without CONFIG_KALLSYMS_ALL", t.Count())
			continue
		}
		for _, e := range kallsyms.Encodings() {
			banner, rerr := k.Space.CString(t.Address(e, bi), 512)
			if rerr != nil || !strings.HasPrefix(banner, bannerStart) {
				err = fmt.Errorf("%d symbols, but in no encoding is linux_banner the banner", t.Count())
				continue
			}
			checks, cerr := k.confirm(t, e, at, banner)
			if cerr != nil {
				err = cerr
				continue
			}
			k.table, k.encoding, k.Banner = t, e, strings.TrimSpace(banner)
			k.step("symbols", "kallsyms by %s: %d symbols, encoding %s, verified by linux_banner%s", how, t.Count(), e, checks)
			return nil
		}
	}
	return err
}

// confirm checks a second symbol where there is one to check against.
func (k *Kernel) confirm(t *kallsyms.Table, e kallsyms.Encoding, at map[string]int, banner string) (string, error) {
	checks := ""
	if i, ok := at["_stext"]; ok && k.Info != nil {
		if want, ok := k.Info.Symbol("_stext"); ok {
			if got := t.Address(e, i); got != want {
				return "", fmt.Errorf("encoding %s: _stext is %#x, VMCOREINFO says %#x", e, got, want)
			}
			checks += ", _stext"
		}
	}
	if i, ok := at["__start_BTF"]; ok {
		if v, err := k.Space.U64(t.Address(e, i)); err == nil && v&0xffff == 0xeb9f {
			checks += ", __start_BTF"
		}
	}
	if rel := strings.Fields(banner); k.Info != nil && len(rel) > 2 && rel[2] != k.Info.Release() {
		return "", fmt.Errorf("linux_banner is of %s, VMCOREINFO of %s", rel[2], k.Info.Release())
	}
	return checks, nil
}
