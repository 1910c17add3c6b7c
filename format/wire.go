package format

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// errShort: the bytes end before the value does.
var errShort = errors.New("value ends early")

// Integers of records and metas are unsigned base-128 (LEB128), shortest form
// only; signed ones are zigzag. One value has one encoding, so that what is
// accepted re-encodes identically.

func appendZigzag(b []byte, v int64) []byte {
	return binary.AppendUvarint(b, uint64(v)<<1^uint64(v>>63))
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendBytes(b, v []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// decoder reads values in order and keeps the first error with the field's name.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(field string, err error) {
	if d.err == nil {
		d.err = fmt.Errorf("%s: %w", field, err)
	}
}

func (d *decoder) uint8(field string) uint8 {
	if d.err != nil {
		return 0
	}
	if len(d.b) == 0 {
		d.fail(field, errShort)
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) bool(field string) bool {
	v := d.uint8(field)
	if v > 1 {
		d.fail(field, fmt.Errorf("%d is neither 0 nor 1", v))
	}
	return v == 1
}

func (d *decoder) uint(field string) uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	switch {
	case n == 0:
		d.fail(field, errShort)
	case n < 0:
		d.fail(field, errors.New("more than 64 bits"))
	case n > 1 && d.b[n-1] == 0:
		d.fail(field, errors.New("not in shortest form"))
	}
	if d.err != nil {
		return 0
	}
	d.b = d.b[n:]
	return v
}

// uintMax reads an integer that must not exceed limit.
func (d *decoder) uintMax(field string, limit uint64) uint64 {
	v := d.uint(field)
	if v > limit {
		d.fail(field, fmt.Errorf("%d is more than %d", v, limit))
		return 0
	}
	return v
}

func (d *decoder) uint32(field string) uint32 { return uint32(d.uintMax(field, 1<<32-1)) }
func (d *decoder) uint16(field string) uint16 { return uint16(d.uintMax(field, 1<<16-1)) }

func (d *decoder) zigzag(field string) int64 {
	v := d.uint(field)
	return int64(v>>1) ^ -int64(v&1)
}

// fixed reads len(dst) bytes.
func (d *decoder) fixed(field string, dst []byte) {
	if d.err != nil {
		return
	}
	if len(d.b) < len(dst) {
		d.fail(field, errShort)
		return
	}
	copy(dst, d.b)
	d.b = d.b[len(dst):]
}

// bytes reads a length and that many bytes, without copying them.
func (d *decoder) bytes(field string) []byte {
	n := d.uint(field)
	if d.err != nil {
		return nil
	}
	if n > uint64(len(d.b)) {
		d.fail(field, errShort)
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) string(field string) string { return string(d.bytes(field)) }

// count reads a number of elements, each at least size bytes long: a count that
// cannot be true, or is above limit, is refused before anything is allocated for it.
func (d *decoder) count(field string, size int, limit uint64) int {
	n := d.uintMax(field, limit)
	if d.err == nil && n > uint64(len(d.b)/size) {
		d.fail(field, errShort)
		return 0
	}
	return int(n)
}
