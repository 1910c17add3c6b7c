package linux

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/linux/types"
)

// Object is a kernel structure at an address. Reading from it does not fail
// one by one: the first failure is kept, all reads after it give zero, and Err
// tells. Objects reached from one another share that failure.
type Object struct {
	Addr uint64
	k    *Kernel
	typ  *types.Struct
	err  *error
}

// Object returns the structure a kernel symbol names.
func (k *Kernel) Object(symbol, typ string) (Object, error) {
	a, ok := k.Symbol(symbol)
	o := k.At(a, typ)
	if !ok {
		o.Fail(fmt.Errorf("kernel has no symbol %s", symbol))
	}
	return o, o.Err()
}

// At returns the structure at a kernel address, with a failure of its own.
func (k *Kernel) At(addr uint64, typ string) Object {
	o := Object{Addr: addr, k: k, typ: k.Types.Struct(typ), err: new(error)}
	if o.typ == nil {
		*o.err = fmt.Errorf("type information lacks struct %s", typ)
	}
	return o
}

// Err is the first failure of this object and those it shares with.
func (o Object) Err() error {
	if o.err == nil {
		return nil
	}
	return *o.err
}

// Fail notes a failure that the caller found; the first one is kept.
func (o Object) Fail(err error) {
	if *o.err == nil {
		*o.err = err
	}
}

// Has says whether the structure has a member in this kernel.
func (o Object) Has(path string) bool { return o.typ.Field(path) != nil }

// Type is the structure's tag.
func (o Object) Type() string {
	if o.typ == nil {
		return ""
	}
	return o.typ.Name
}

// Size is the structure's size in bytes, 0 when unknown.
func (o Object) Size() uint64 {
	if o.typ == nil {
		return 0
	}
	return o.typ.Size
}

// Field is where a member lies; it must exist.
func (o Object) Field(path string) (types.Field, bool) {
	if *o.err != nil {
		return types.Field{}, false
	}
	f := o.typ.Field(path)
	if f == nil {
		o.Fail(fmt.Errorf("struct %s has no member %s in this kernel", o.typ.Name, path))
		return types.Field{}, false
	}
	return *f, true
}

// Member is the address of a member.
func (o Object) Member(path string) uint64 {
	f, _ := o.Field(path)
	return o.Addr + f.Offset
}

// Offset is how far a member is from the structure's start.
func (o Object) Offset(path string) uint64 {
	f, _ := o.Field(path)
	return f.Offset
}

// Uint reads an unsigned member of any size up to eight bytes, bit fields too.
func (o Object) Uint(path string) uint64 {
	f, ok := o.Field(path)
	if !ok {
		return 0
	}
	return o.scalar(path, f)
}

func (o Object) scalar(path string, f types.Field) uint64 {
	if o.Addr == 0 {
		o.Fail(fmt.Errorf("struct %s: null pointer", o.typ.Name))
		return 0
	}
	size := f.Size
	if f.BitSize > 0 {
		size = (f.BitShift + f.BitSize + 7) / 8
	}
	if size == 8 {
		v, err := o.k.Space.U64(o.Addr + f.Offset)
		if err != nil {
			o.Fail(fmt.Errorf("%s.%s: %w", o.typ.Name, path, err))
		}
		return v
	}
	if size == 0 || size > 8 {
		o.Fail(fmt.Errorf("%s.%s: %d bytes is not a number", o.typ.Name, path, size))
		return 0
	}
	var b [8]byte
	if _, err := o.k.Space.Read(o.Addr+f.Offset, b[:size]); err != nil {
		o.Fail(fmt.Errorf("%s.%s: %w", o.typ.Name, path, err))
		return 0
	}
	v := binary.LittleEndian.Uint64(b[:])
	if f.BitSize > 0 {
		v = v >> f.BitShift & (1<<f.BitSize - 1)
	}
	return v
}

// Int reads a signed member, extending its sign.
func (o Object) Int(path string) int64 {
	f, ok := o.Field(path)
	if !ok {
		return 0
	}
	v := o.scalar(path, f)
	shift := 64 - 8*min(f.Size, 8)
	return int64(v<<shift) >> shift
}

// Ptr reads a pointer member.
func (o Object) Ptr(path string) uint64 { return o.Uint(path) }

// First reads the first of several members that this kernel has.
func (o Object) First(paths ...string) uint64 {
	for _, p := range paths {
		if o.Has(p) {
			return o.Uint(p)
		}
	}
	_, _ = o.Field(paths[0])
	return 0
}

// Follow goes through a pointer member to a structure, sharing failures. A null
// pointer gives an object with address 0, on which reads fail.
func (o Object) Follow(path, typ string) Object { return o.Cast(o.Ptr(path), typ) }

// In is a structure embedded in this one, sharing failures.
func (o Object) In(path string) Object {
	f, ok := o.Field(path)
	if ok && f.Struct == nil {
		o.Fail(fmt.Errorf("%s.%s is not a structure", o.typ.Name, path))
	}
	return Object{Addr: o.Addr + f.Offset, k: o.k, typ: f.Struct, err: o.err}
}

// Cast is another structure at an address found through this one, sharing
// failures.
func (o Object) Cast(addr uint64, typ string) Object {
	t := o.k.Types.Struct(typ)
	if t == nil {
		o.Fail(fmt.Errorf("type information lacks struct %s", typ))
	}
	return Object{Addr: addr, k: o.k, typ: t, err: o.err}
}

// Outer is the structure of which this address is the member at path
// (container_of), sharing failures.
func (o Object) Outer(member uint64, typ, path string) Object {
	c := o.Cast(0, typ)
	f, _ := c.Field(path)
	c.Addr = member - f.Offset
	return c
}

// Raw reads the bytes of an array or structure member, at most limit.
func (o Object) Raw(path string, limit uint64) []byte {
	f, ok := o.Field(path)
	if !ok {
		return nil
	}
	b := make([]byte, min(f.Size, limit))
	if _, err := o.k.Space.Read(o.Addr+f.Offset, b); err != nil {
		o.Fail(fmt.Errorf("%s.%s: %w", o.typ.Name, path, err))
		return nil
	}
	return b
}

// Text reads a char array up to its NUL.
func (o Object) Text(path string) string {
	b := o.Raw(path, 4096)
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// TextAt reads the string a pointer member leads to, at most limit bytes; ""
// for a null pointer.
func (o Object) TextAt(path string, limit int) string {
	p := o.Ptr(path)
	if p == 0 || *o.err != nil {
		return ""
	}
	s, err := o.k.Space.CString(p, limit)
	if err != nil {
		o.Fail(fmt.Errorf("%s.%s: %w", o.typ.Name, path, err))
	}
	return s
}

// Alone is the same structure with a failure of its own.
func (o Object) Alone() Object {
	o.err = new(error)
	if o.typ == nil {
		*o.err = fmt.Errorf("unknown structure")
	}
	return o
}
