// Package vmcoreinfo finds and reads the kernel's own description for crash
// tools, text that every kernel with kexec keeps in RAM (kernel/vmcore_info.c,
// Documentation/admin-guide/kdump/vmcoreinfo.rst).
package vmcoreinfo

import (
	"bytes"
	"iter"
	"strconv"
	"strings"

	"github.com/xentape/xentape/analyze/internal/linux/phys"
)

// minText is the shortest text taken for the real thing; kernels write 1–4 KiB.
const (
	minText = 300
	maxText = 8192
	maxHits = 64
)

var marker = []byte("OSRELEASE=")

// Info is one VMCOREINFO text.
type Info struct {
	Text   string
	At     []uint64 // guest-physical addresses of the copies, ascending
	fields map[string]string
}

// Parse reads key=value lines. It returns nil when the text is not VMCOREINFO.
func Parse(text string) *Info {
	i := &Info{Text: text, fields: map[string]string{}}
	for _, l := range strings.Split(text, "\n") {
		if k, v, ok := strings.Cut(l, "="); ok {
			if _, dup := i.fields[k]; !dup {
				i.fields[k] = v
			}
		}
	}
	// KERNELOFFSET is last to be added at boot: text without it is a template.
	if i.fields["OSRELEASE"] == "" || i.fields["KERNELOFFSET"] == "" {
		return nil
	}
	return i
}

// Find scans memory and gives each text once: as soon as a second copy of it is
// found, since a running kernel keeps two, the page and the ELF note; texts with
// one copy follow after all of memory was read. The scan ends with the loop over
// it. Frames it could not read are added to unread.
func Find(m *phys.Memory, unread *phys.Unread) iter.Seq[*Info] {
	return func(yield func(*Info) bool) {
		var all []*Info
		byText := map[string]*Info{}
		hits, stopped := 0, false
		*unread = m.Scan(nil, func(frame uint64, p *phys.Page) bool {
			for o := 0; hits < maxHits; o += len(marker) {
				i := bytes.Index(p[o:], marker)
				if i < 0 {
					return true
				}
				o += i
				in := read(m, frame*phys.PageSize+uint64(o), byText)
				if in == nil {
					continue
				}
				hits++
				switch len(in.At) {
				case 1:
					all = append(all, in)
				case 2:
					if stopped = !yield(in); stopped {
						return false
					}
				}
			}
			return false
		})
		for _, in := range all {
			if len(in.At) == 1 && !stopped {
				stopped = !yield(in)
			}
		}
	}
}

// read parses the text at pa and adds its place to the copies known.
func read(m *phys.Memory, pa uint64, byText map[string]*Info) *Info {
	text, ok := textAt(m, pa)
	if !ok {
		return nil
	}
	in := byText[text]
	if in == nil {
		if in = Parse(text); in == nil {
			return nil
		}
		byText[text] = in
	}
	in.At = append(in.At, pa)
	return in
}

// Still says whether the same text is still where it was found, in a further
// snapshot.
func (i *Info) Still(m *phys.Memory) bool {
	for _, pa := range i.At {
		if t, ok := textAt(m, pa); ok && t == i.Text {
			return true
		}
	}
	return len(i.At) == 0 // from a note: nothing in memory to compare
}

// textAt reads printable lines from pa to the first byte that is neither,
// following into the next frame: both copies are physically contiguous.
func textAt(m *phys.Memory, pa uint64) (string, bool) {
	var out []byte
	for len(out) < maxText {
		p, err := m.Frame(pa / phys.PageSize)
		if err != nil {
			break
		}
		b := p[pa%phys.PageSize:]
		n := bytes.IndexFunc(b, func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') })
		if n >= 0 {
			out = append(out, b[:n]...)
			break
		}
		out, pa = append(out, b...), pa+uint64(len(b))
	}
	return string(out), len(out) >= minText
}

// Field returns a raw value.
func (i *Info) Field(key string) (string, bool) {
	v, ok := i.fields[key]
	return v, ok
}

// Symbol returns the address in SYMBOL(name), written in hexadecimal.
func (i *Info) Symbol(name string) (uint64, bool) { return i.number("SYMBOL("+name+")", 16) }

// Number returns NUMBER(name), written in decimal and possibly negative.
func (i *Info) Number(name string) (int64, bool) {
	v, err := strconv.ParseInt(i.fields["NUMBER("+name+")"], 10, 64)
	return v, err == nil
}

// KernelOffset is the slide of the kernel's text by KASLR, in bytes.
func (i *Info) KernelOffset() uint64 { v, _ := i.number("KERNELOFFSET", 16); return v }

// Release is the kernel's release string, as uname -r.
func (i *Info) Release() string { return i.fields["OSRELEASE"] }

// BuildID is the kernel's build id in hexadecimal, "" before 5.9.
func (i *Info) BuildID() string { return i.fields["BUILD-ID"] }

func (i *Info) number(key string, base int) (uint64, bool) {
	v, err := strconv.ParseUint(strings.TrimPrefix(i.fields[key], "0x"), base, 64)
	return v, err == nil
}
