package linux

import (
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// findTypes takes the user's file when it is of this kernel, else the BTF in
// the guest's memory.
func (k *Kernel) findTypes(x *external) error {
	if x == nil {
		return k.ownBTF()
	}
	if x.isf != nil {
		if b := strings.TrimSpace(x.isf.Banner()); b != k.Banner {
			return &Mismatch{File: b, Guest: k.Banner}
		}
		k.Types = x.isf
		k.step("types", "ISF file, banner equal to the guest's")
		return k.placeISF(x.isf)
	}
	shown, err := k.sameBuild(x)
	if err != nil {
		return err
	}
	k.Types = x.btf
	k.step("types", "BTF file of %d types; %s", x.btf.Types(), shown)
	return nil
}

// sameBuild says what shows that a BTF file is of the guest's kernel: the build id
// or banner of the vmlinux it came in, or else what the types alone tell.
func (k *Kernel) sameBuild(x *external) (string, error) {
	if guest := k.buildID(); x.buildID != "" && guest != "" {
		if x.buildID != guest {
			return "", &Mismatch{File: "build id " + x.buildID, Guest: "build id " + guest}
		}
		return "its build id is the guest's", nil
	}
	if x.banner != "" {
		if x.banner != k.Banner {
			return "", &Mismatch{File: x.banner, Guest: k.Banner}
		}
		return "its banner is the guest's", nil
	}
	if shown, err := k.sameVariables(x); shown != "" || err != nil {
		return shown, err
	}
	return k.sameFunctions(x)
}

// sameVariables compares where the file and the kernel's symbol table have the
// per-CPU variables, some hundreds since pahole 1.18: another build moves them.
func (k *Kernel) sameVariables(x *external) (string, error) {
	var names []string
	for v := range x.btf.Variables(".data..percpu") {
		names = append(names, v)
	}
	k.Preload(append(names, "__per_cpu_start")...)
	start := k.known["__per_cpu_start"] // 0 before 6.15
	for v, offset := range x.btf.Variables(".data..percpu") {
		if at := k.known[v]; at-start != offset {
			return "", &Mismatch{File: fmt.Sprintf("BTF file with %s at %#x of the per-CPU area", v, offset), Guest: k.Banner}
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	return fmt.Sprintf("its %d per-CPU variables are where the symbol table has them", len(names)), nil
}

// sameFunctions looks for the file's functions in the kernel's symbol table. A few
// that were specialised are there under longer names (0 to 1.4 % in kernels 5.10
// to 7.2); of another release's at least 4 % are missing.
func (k *Kernel) sameFunctions(x *external) (string, error) {
	const allowed = 50 // one of
	has := map[string]bool{}
	n := 0
	for f := range x.btf.Functions() {
		has[f] = false
		n++
	}
	if n == 0 || k.table == nil {
		return "it names no kernel, so only init_task verifies it", nil
	}
	k.table.Each(func(_ int, _ byte, name []byte) {
		if _, ok := has[string(name)]; ok {
			has[string(name)] = true
		}
	})
	missing := 0
	for _, there := range has {
		if !there {
			missing++
		}
	}
	if missing > len(has)/allowed {
		return "", &Mismatch{File: fmt.Sprintf("BTF file with %d of %d functions that the guest does not have", missing, len(has)), Guest: k.Banner}
	}
	return fmt.Sprintf("%d of its %d functions are in the symbol table", len(has)-missing, len(has)), nil
}

// buildID is the running kernel's, from VMCOREINFO since 5.9, or from its ELF notes;
// "" when neither has it.
func (k *Kernel) buildID() string {
	if k.Info != nil && k.Info.BuildID() != "" {
		return k.Info.BuildID()
	}
	return k.notesBuildID()
}

// notesBuildID reads it from the notes of the kernel's image, which stay in memory.
func (k *Kernel) notesBuildID() string {
	lo, ok1 := k.Symbol("__start_notes")
	hi, ok2 := k.Symbol("__stop_notes")
	if !ok1 || !ok2 || hi <= lo || hi-lo > maxNotes {
		return ""
	}
	b := make([]byte, hi-lo)
	if _, err := k.Space.Read(lo, b); err != nil {
		return ""
	}
	return noteBuildID(b)
}

// maxNotes bounds the notes of a kernel: some hundred bytes.
const maxNotes = 1 << 20

// fileBuildID reads it from a vmlinux's notes.
func fileBuildID(f *elf.File) string {
	for _, name := range []string{".note.gnu.build-id", ".notes"} {
		s := f.Section(name)
		if s == nil || s.Size > maxNotes {
			continue
		}
		if b, err := s.Data(); err == nil {
			if id := noteBuildID(b); id != "" {
				return id
			}
		}
	}
	return ""
}

// noteBuildID finds NT_GNU_BUILD_ID among ELF notes.
func noteBuildID(b []byte) string {
	for len(b) >= 12 {
		nameLen, descLen, typ := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
		end := 12 + (uint64(nameLen)+3)&^3 + (uint64(descLen)+3)&^3
		if end > uint64(len(b)) {
			break
		}
		d := end - (uint64(descLen)+3)&^3
		if typ == 3 && string(b[12:12+nameLen]) == "GNU\x00" {
			return hex.EncodeToString(b[d : d+uint64(descLen)])
		}
		b = b[end:]
	}
	return ""
}

// fileBanner reads a vmlinux's linux_banner.
func fileBanner(f *elf.File) string {
	syms, err := f.Symbols()
	if err != nil {
		return "" // stripped
	}
	for _, y := range syms {
		if y.Name != "linux_banner" || int(y.Section) >= len(f.Sections) {
			continue
		}
		s := f.Sections[y.Section]
		if s.Flags&elf.SHF_COMPRESSED != 0 {
			return "" // no such section of a kernel is
		}
		b := make([]byte, 512)
		n, _ := s.ReadAt(b, int64(y.Value-s.Addr))
		text, _, ok := strings.Cut(string(b[:n]), "\x00")
		if ok && strings.HasPrefix(text, bannerStart) {
			return strings.TrimSpace(text)
		}
	}
	return ""
}
