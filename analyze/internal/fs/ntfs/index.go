package ntfs

import (
	"errors"
	"fmt"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

const (
	indexRootHead  = 16 // bytes of $INDEX_ROOT before its index header
	indexBlockHead = 24 // bytes of an index block before its index header
	indexHead      = 16
	entryHead      = 16 // bytes of an entry before its key
	entryLast      = 2  // flag of the entry that ends a node
	nameHead       = 66 // bytes of a file name before its characters

	nameDirectory = 0x10000000 // flag of a file name: a directory (fs/ntfs3/ntfs.h, FILE_ATTRIBUTE_DIRECTORY)

	maxIndexBlock = 64 << 10
	// maxIndexBlocks bounds what is read of all directories of a volume together.
	maxIndexBlocks = 1 << 20
)

// indexEntry is one name in a directory index ($I30), which repeats what the file's
// record said when it was last brought up to date.
type indexEntry struct {
	child reference // 0 where only the name is left
	fileName
	off                        uint64 // on the volume; 0 inside a file record
	removed                    bool   // behind the end of its node
	size                       uint64
	dir                        bool
	aTime, mTime, cTime, bTime int64
}

// index is the directory index of one file.
type index struct {
	root   []byte // value of $INDEX_ROOT
	runs   []run  // of $INDEX_ALLOCATION
	size   uint64 // bytes of it that were written
	bitmap []byte // which blocks of it are in use
	block  uint64 // bytes of one
}

// directory gathers the index of f.
func (v *Volume) directory(f *file) (*index, error) {
	attrs, err := v.extended(f.record)
	slices.SortStableFunc(attrs, byVCN)
	x := &index{}
	for _, a := range attrs {
		if a.name != "$I30" {
			continue
		}
		switch {
		case a.typ == attrIndexRoot && a.resident:
			x.root = a.value
		case a.typ == attrIndexAlloc && !a.resident:
			if a.lowVCN == 0 {
				x.size = a.initializedSz
			}
			var bad error
			x.runs, bad = decodeRuns(x.runs, a.runs, a.lowVCN, v.clusters())
			err = errors.Join(err, bad)
		case a.typ == attrBitmap:
			var bad error
			if x.bitmap, bad = v.value(a, maxIndexBlocks/8); bad != nil {
				err = errors.Join(err, fmt.Errorf("index bitmap: %w", bad))
			}
		}
	}
	if len(x.root) < indexRootHead+indexHead {
		return nil, errors.Join(err, fmt.Errorf("index root of %d bytes: %w", len(x.root), fs.ErrCorrupt))
	}
	x.block = uint64(le.Uint32(x.root[8:]))
	if len(x.runs) > 0 && (x.block < sectorSize || x.block > maxIndexBlock || x.block&(x.block-1) != 0) {
		return nil, errors.Join(err, fmt.Errorf("index blocks of %d bytes: %w", x.block, fs.ErrCorrupt))
	}
	return x, err
}

// inUse reports whether block k is a node of the index.
func (x *index) inUse(k uint64) bool {
	return k/8 < uint64(len(x.bitmap)) && x.bitmap[k/8]>>(k%8)&1 != 0
}

// indexed visits every entry of the index of directory f, and those that are left
// behind the ends of its nodes and in blocks no longer in use. left is how many
// blocks may still be read.
func (v *Volume) indexed(f *file, x *index, left *int, visit func(indexEntry)) error {
	first := v.node(f, x.root[indexRootHead:], 0, true, visit)
	if len(x.runs) == 0 {
		return first
	}
	b, c := make([]byte, x.block), v.boot.Cluster
	next := uint64(0) // block; one may go on into the next run
	for i, r := range x.runs {
		if r.sparse { // given back
			continue
		}
		next = max(next, (r.vcn*c+x.block-1)/x.block)
		for ; next*x.block < (r.vcn+r.count)*c && (next+1)*x.block <= x.size; next++ {
			if *left--; *left < 0 {
				return fmt.Errorf("more than %d blocks of directory indexes: the rest is not looked at", maxIndexBlocks)
			}
			if err := v.indexBlock(f, x, i, next, b, visit); err != nil && first == nil {
				first = fmt.Errorf("index block %d: %w", next, err)
			}
		}
	}
	return first
}

// indexBlock visits the entries of block k, which begins in run i.
func (v *Volume) indexBlock(f *file, x *index, i int, k uint64, b []byte, visit func(indexEntry)) error {
	c, r := v.boot.Cluster, x.runs[i]
	if err := v.readRuns(x.runs[i:min(i+maxIndexBlock/sectorSize, len(x.runs))], b, k*x.block); err != nil {
		return err
	}
	if string(b[:4]) != "INDX" {
		if !x.inUse(k) {
			return nil // never used
		}
		return fmt.Errorf("magic %q: %w", b[:4], fs.ErrCorrupt)
	}
	if err := fixup(b); err != nil {
		return err
	}
	return v.node(f, b[indexBlockHead:], r.lcn*c+k*x.block-r.vcn*c+indexBlockHead, x.inUse(k), visit)
}

// node visits the entries of one node, b being its index header and what follows,
// at byte off of the volume; 0 is inside a file record. Of a node that is not in use
// all of them are removed ones.
func (v *Volume) node(f *file, b []byte, off uint64, used bool, visit func(indexEntry)) error {
	at, end := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:]))
	if at < indexHead || at > end || end > uint64(len(b)) {
		return fmt.Errorf("entries from %d to %d of %d: %w", at, end, len(b), fs.ErrCorrupt)
	}
	place := func(k uint64) uint64 {
		if off == 0 {
			return 0
		}
		return off + k
	}
	for used {
		if at+entryHead > end {
			return fmt.Errorf("no last entry before %d: %w", end, fs.ErrCorrupt)
		}
		n := uint64(le.Uint16(b[at+8:]))
		if n < entryHead || n&7 != 0 || at+n > end {
			return fmt.Errorf("entry of %d bytes at %d: %w", n, at, fs.ErrCorrupt)
		}
		if le.Uint16(b[at+12:])&entryLast != 0 {
			at = (end + 7) &^ 7
			break
		}
		e, err := parseEntry(b[at : at+n])
		if err != nil {
			return fmt.Errorf("entry at %d: %w", at, err)
		}
		e.off = place(at)
		visit(e)
		at += n
	}
	for at+nameHead <= uint64(len(b)) {
		e, n, ok := v.left(f, b[at:])
		if ok {
			e.off = place(at)
			visit(e)
		}
		at += n
	}
	return nil
}

// left reads what was an entry, behind the end of a node, and returns by how much to
// move on. The directory that a name names tells it from other bytes. Where the entry
// that ends the node was put over the head of the last one removed, what file that
// was is gone, and the name is still there.
func (v *Volume) left(f *file, b []byte) (e indexEntry, n uint64, ok bool) {
	of := func(e *indexEntry) bool {
		return e.parent.record() == f.num && e.parent.seq() == f.seq && e.name != ""
	}
	if len(b) >= entryHead+nameHead {
		n = uint64(le.Uint16(b[8:]))
		if n&7 == 0 && n <= uint64(len(b)) && le.Uint16(b[12:])&entryLast == 0 {
			e, err := parseEntry(b[:n])
			if err == nil && of(&e) && e.child.record() < v.records() {
				e.removed = true
				return e, n, true
			}
		}
	}
	if e, err := parseKey(b); err == nil && of(&e) {
		e.removed = true
		return e, uint64(nameHead+2*int(b[64])+7) &^ 7, true
	}
	return e, 8, false
}

// parseEntry decodes an entry whose key is a file name.
func parseEntry(b []byte) (indexEntry, error) {
	if len(b) < entryHead+nameHead {
		return indexEntry{}, fmt.Errorf("entry of %d bytes: %w", len(b), fs.ErrCorrupt)
	}
	n := int(le.Uint16(b[10:]))
	if entryHead+n > len(b) || n != nameHead+2*int(b[entryHead+64]) {
		return indexEntry{}, fmt.Errorf("key of %d bytes for %d characters: %w", n, b[entryHead+64], fs.ErrCorrupt)
	}
	e, err := parseKey(b[entryHead : entryHead+n])
	e.child = reference(le.Uint64(b))
	return e, err
}

// parseKey decodes a file name as an index has it.
func parseKey(key []byte) (indexEntry, error) {
	name, err := parseName(key)
	if err == nil && name.kind > 3 {
		err = fmt.Errorf("name of kind %d: %w", name.kind, fs.ErrCorrupt)
	}
	if err != nil {
		return indexEntry{}, err
	}
	return indexEntry{
		fileName: name, size: le.Uint64(key[48:]), dir: le.Uint32(key[56:])&nameDirectory != 0,
		bTime: filetime(le.Uint64(key[8:])), mTime: filetime(le.Uint64(key[16:])), cTime: filetime(le.Uint64(key[24:])), aTime: filetime(le.Uint64(key[32:])),
	}, nil
}
