package ext4

import (
	"bytes"
	"errors"
	"io"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// content opens an inode's bytes.
func (v *view) content(i *inode) fs.Content {
	switch {
	case i.inline():
		b := append([]byte(nil), i.block()...)
		return fs.NewInline(i.size, append(b, inlineAttr(i)...))
	case i.fastLink():
		return fs.NewInline(i.size, i.block())
	}
	m := v.mapping(i)
	return v.mapped(i, &m)
}

func (v *view) mapped(i *inode, m *mapping) fs.Content {
	es := v.extents(m)
	if m.err != nil {
		es = markUnmapped(es, i.size)
	}
	return fs.NewMapped(v.dev, i.size, es)
}

// extents are the runs of a mapping in bytes.
func (v *view) extents(m *mapping) []fs.Extent {
	es := make([]fs.Extent, 0, len(m.runs)+1)
	for _, r := range m.runs {
		e := fs.Extent{Logical: r.logical * v.blockSize, Physical: r.physical * v.blockSize, Length: r.count * v.blockSize}
		if r.unwritten {
			e.State = fs.ExtentUnwritten
		}
		es = append(es, e)
	}
	return es
}

// markUnmapped says of the stretches between the runs that could be read that
// they are unknown, not holes: the mapping that would tell was not readable.
func markUnmapped(es []fs.Extent, size uint64) []fs.Extent {
	var out []fs.Extent
	var at uint64
	for _, e := range es {
		if e.Logical > at {
			out = append(out, fs.Extent{Logical: at, Length: e.Logical - at, State: fs.ExtentUnknown})
		}
		out = append(out, e)
		at = max(at, e.Logical+e.Length)
	}
	if at < size {
		out = append(out, fs.Extent{Logical: at, Length: size - at, State: fs.ExtentUnknown})
	}
	return out
}

// maxTarget bounds a symbolic link: PATH_MAX.
const maxTarget = 4096

// target ends at the first zero byte, as it does for the kernel (nd_terminate_link,
// include/linux/namei.h): without a journal a link may be there before its target.
func (v *view) target(i *inode) string {
	if i.flags&flagEncrypt != 0 {
		return ""
	}
	b := make([]byte, min(i.size, maxTarget))
	if _, err := v.content(i).ReadAt(b, 0); err != nil && !atEnd(err) {
		return ""
	}
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

func atEnd(err error) bool { return errors.Is(err, io.EOF) }
