package ntfs

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// maxAttrList is the largest attribute list Windows makes.
const maxAttrList = 256 << 10

// stream is the content of one data attribute.
type stream struct {
	name     string // "" is the file itself
	resident bool
	value    []byte
	runs     []run
	size     uint64 // bytes
	valid    uint64 // bytes written; the rest reads as zeros
	flags    uint16
	unit     uint64 // clusters per compression unit, 0 = not compressed
}

// file is a file record with its extensions.
type file struct {
	*record
	names    []fileName
	std      []byte // $STANDARD_INFORMATION
	streams  []*stream
	indexLen uint64 // bytes of the directory index: a directory's size
	reparse  []byte
	ea       []byte
	intx     []byte // content that makes it a Unix node of Interix
	apart    []run  // where what describes it is kept outside of file records
}

func (f *file) stream(name string) *stream {
	for _, s := range f.streams {
		if s.name == name {
			return s
		}
	}
	return nil
}

// file reads file num. fs.ErrNotFound: the record is free, or an extension of
// another. What could be read is returned beside an error.
func (v *Volume) file(num uint64) (*file, error) {
	r, err := v.record(num)
	if err != nil {
		return nil, err
	}
	if !r.inUse() || r.base != 0 {
		return nil, fmt.Errorf("file record %d: %w", num, fs.ErrNotFound)
	}
	f := &file{record: r}
	for _, a := range r.attrs {
		if a.typ == attrList {
			f.outside(v, a)
		}
	}
	attrs, err := v.extended(r)
	return f, errors.Join(err, f.assemble(v, attrs))
}

// extended gathers the attributes of r and of the extension records that its
// attribute list names.
func (v *Volume) extended(r *record) ([]attribute, error) {
	attrs := slices.Clone(r.attrs)
	k := slices.IndexFunc(attrs, func(a attribute) bool { return a.typ == attrList })
	if k < 0 {
		return attrs, nil
	}
	list, err := v.value(attrs[k], maxAttrList)
	if err != nil {
		return attrs, fmt.Errorf("file record %d: attribute list: %w", r.num, err)
	}
	seen := map[uint64]bool{r.num: true}
	var first error
	for len(list) >= 26 {
		n := int(le.Uint16(list[4:]))
		if n < 26 || n > len(list) {
			return attrs, fmt.Errorf("file record %d: attribute list entry of %d bytes: %w", r.num, n, fs.ErrCorrupt)
		}
		ref := reference(le.Uint64(list[16:]))
		list = list[n:]
		if seen[ref.record()] {
			continue
		}
		seen[ref.record()] = true
		x, err := v.record(ref.record())
		if err == nil && (!x.inUse() || x.base.record() != r.num || x.seq != ref.seq()) {
			err = fmt.Errorf("file record %d: extension %d is not its own: %w", r.num, ref.record(), fs.ErrCorrupt)
		}
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		attrs = append(attrs, x.attrs...)
	}
	return attrs, first
}

// value reads an attribute of at most so many bytes, wherever it is.
func (v *Volume) value(a attribute, limit uint64) ([]byte, error) {
	if a.resident {
		return a.value, nil
	}
	if a.lowVCN != 0 || a.dataSize > limit {
		return nil, fmt.Errorf("%d bytes from cluster %d on: %w", a.dataSize, a.lowVCN, fs.ErrCorrupt)
	}
	runs, err := decodeRuns(nil, a.runs, 0, v.clusters())
	if err != nil {
		return nil, err
	}
	b := make([]byte, a.dataSize)
	return b, v.readRuns(runs, b[:min(a.initializedSz, a.dataSize)], 0) // the rest reads as zeros
}

// outside notes where the value of an attribute that describes f is kept.
func (f *file) outside(v *Volume, a attribute) {
	if !a.resident {
		f.apart, _ = decodeRuns(f.apart, a.runs, a.lowVCN, v.clusters())
	}
}

func byVCN(a, b attribute) int { return cmp.Compare(a.lowVCN, b.lowVCN) }

// assemble sorts attributes into what they say; runs of one attribute may be
// spread over several.
func (f *file) assemble(v *Volume, attrs []attribute) error {
	slices.SortStableFunc(attrs, byVCN)
	var first error
	note := func(err error) {
		if err != nil && first == nil {
			first = fmt.Errorf("file record %d: %w", f.num, err)
		}
	}
	for _, a := range attrs {
		switch {
		case a.typ == attrStandard && a.resident:
			f.std = a.value
		case a.typ == attrName && a.resident:
			n, err := parseName(a.value)
			note(err)
			if err == nil && n.kind != nameDOS {
				f.names = append(f.names, n)
			}
		case a.typ == attrData:
			note(f.addData(v, a))
		case a.typ == attrIndexRoot && a.name == "$I30" && a.resident:
			f.indexLen = max(f.indexLen, uint64(len(a.value)))
		case a.typ == attrIndexAlloc && a.name == "$I30" && !a.resident:
			if a.lowVCN == 0 {
				f.indexLen = a.dataSize
			}
		case a.typ == attrReparse, a.typ == attrEA:
			f.outside(v, a)
			b, err := v.value(a, maxEA)
			note(err)
			if a.typ == attrReparse {
				f.reparse = b
				continue
			}
			f.ea = b
			_, err = parseEA(b)
			note(err)
		}
	}
	note(f.node(v))
	return first
}

func (f *file) addData(v *Volume, a attribute) error {
	s := f.stream(a.name)
	if s == nil {
		if len(f.streams) >= 1<<12 {
			return fmt.Errorf("more than %d streams: %w", 1<<12, fs.ErrCorrupt)
		}
		s = &stream{name: a.name}
		f.streams = append(f.streams, s)
	}
	if a.resident {
		s.resident, s.value, s.size, s.valid, s.flags = true, a.value, a.dataSize, a.dataSize, a.flags
		return nil
	}
	if a.lowVCN == 0 {
		s.size, s.valid, s.flags = a.dataSize, a.initializedSz, a.flags
		if a.flags&flagCompressed != 0 && a.unit > 0 {
			s.unit = 1 << a.unit
		}
	}
	var err error
	s.runs, err = decodeRuns(s.runs, a.runs, a.lowVCN, v.clusters())
	return err
}
