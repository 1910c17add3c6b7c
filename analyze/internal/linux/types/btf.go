package types

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Kinds of BTF types (Documentation/bpf/btf.rst).
const (
	kindInt       = 1
	kindPtr       = 2
	kindArray     = 3
	kindStruct    = 4
	kindUnion     = 5
	kindEnum      = 6
	kindFwd       = 7
	kindTypedef   = 8
	kindVolatile  = 9
	kindConst     = 10
	kindRestrict  = 11
	kindFunc      = 12
	kindFuncProto = 13
	kindVar       = 14
	kindDatasec   = 15
	kindFloat     = 16
	kindDeclTag   = 17
	kindTypeTag   = 18
	kindEnum64    = 19
)

const (
	btfMagic     = 0xeb9f
	btfHeaderLen = 24
	maxTypes     = 4 << 20
)

// BTF is the kernel's compact type information. It keeps the raw bytes and
// decodes a type when asked for it.
type BTF struct {
	types   []byte
	strings string
	at      []uint32 // offset of type id, by id; id 0 is void
	byName  map[string]uint32
	structs map[uint32]*Struct
}

// ParseBTF indexes raw .BTF bytes, little-endian. Trailing bytes are ignored.
func ParseBTF(b []byte) (*BTF, error) {
	if len(b) < btfHeaderLen || binary.LittleEndian.Uint16(b) != btfMagic {
		return nil, fmt.Errorf("btf: no header (magic %#x)", magicOf(b))
	}
	if b[2] != 1 {
		return nil, fmt.Errorf("btf: version %d is not supported", b[2])
	}
	le := binary.LittleEndian
	hdr := uint64(le.Uint32(b[4:]))
	if hdr < btfHeaderLen {
		return nil, fmt.Errorf("btf: hdr_len %d is shorter than a header", hdr)
	}
	t, err := section(b, hdr, le.Uint32(b[8:]), le.Uint32(b[12:]), "type")
	if err != nil {
		return nil, err
	}
	s, err := section(b, hdr, le.Uint32(b[16:]), le.Uint32(b[20:]), "string")
	if err != nil {
		return nil, err
	}
	if len(s) == 0 || s[0] != 0 || s[len(s)-1] != 0 {
		return nil, fmt.Errorf("btf: string section does not start and end with NUL")
	}
	x := &BTF{types: t, strings: string(s), byName: map[string]uint32{}, structs: map[uint32]*Struct{}}
	return x, x.index()
}

func magicOf(b []byte) uint16 {
	if len(b) < 2 {
		return 0
	}
	return binary.LittleEndian.Uint16(b)
}

func section(b []byte, hdr uint64, off, size uint32, name string) ([]byte, error) {
	lo := hdr + uint64(off)
	hi := lo + uint64(size)
	if hi > uint64(len(b)) {
		return nil, fmt.Errorf("btf: %s section [%d, %d) ends after the %d bytes there are", name, lo, hi, len(b))
	}
	return b[lo:hi], nil
}

func (x *BTF) index() error {
	x.at = append(make([]uint32, 0, len(x.types)/24), 0)
	for o := 0; o < len(x.types); {
		if len(x.types)-o < 12 {
			return fmt.Errorf("btf: type %d at %d is cut short", len(x.at), o)
		}
		if len(x.at) >= maxTypes {
			return fmt.Errorf("btf: more than %d types", maxTypes)
		}
		kind, vlen, _ := x.info(uint32(o))
		n := 12
		switch kind {
		case kindInt, kindVar, kindDeclTag:
			n += 4
		case kindArray:
			n += 12
		case kindStruct, kindUnion, kindDatasec, kindEnum64:
			n += vlen * 12
		case kindEnum, kindFuncProto:
			n += vlen * 8
		case kindPtr, kindFwd, kindTypedef, kindVolatile, kindConst, kindRestrict, kindFunc, kindFloat, kindTypeTag:
		default:
			return fmt.Errorf("btf: type %d at %d has unknown kind %d", len(x.at), o, kind)
		}
		if n > len(x.types)-o {
			return fmt.Errorf("btf: type %d at %d ends after its section", len(x.at), o)
		}
		id := uint32(len(x.at))
		x.at = append(x.at, uint32(o))
		if kind == kindStruct || kind == kindUnion {
			if name := x.name(uint32(o)); name != "" {
				if _, dup := x.byName[name]; !dup {
					x.byName[name] = id
				}
			}
		}
		o += n
	}
	return nil
}

func (x *BTF) u32(o uint32) uint32 { return binary.LittleEndian.Uint32(x.types[o:]) }

func (x *BTF) info(o uint32) (kind, vlen int, flag bool) {
	v := x.u32(o + 4)
	return int(v >> 24 & 0x1f), int(v & 0xffff), v>>31 != 0
}

func (x *BTF) name(o uint32) string {
	n := x.u32(o)
	if uint64(n) >= uint64(len(x.strings)) {
		return ""
	}
	s := x.strings[n:]
	return s[:strings.IndexByte(s, 0)]
}

// Struct implements Set.
func (x *BTF) Struct(name string) *Struct {
	id, ok := x.byName[name]
	if !ok {
		return nil
	}
	return x.structByID(id)
}

// Types is how many types there are.
func (x *BTF) Types() int { return len(x.at) - 1 }

func (x *BTF) structByID(id uint32) *Struct {
	if s := x.structs[id]; s != nil {
		return s
	}
	o := x.at[id]
	_, vlen, flag := x.info(o)
	s := &Struct{Name: x.name(o), Size: uint64(x.u32(o + 8)), Members: make([]Member, vlen)}
	x.structs[id] = s
	for i := range s.Members {
		mo := o + 12 + uint32(i)*12
		typ, bit, size := x.u32(mo+4), x.u32(mo+8), uint32(0)
		if flag { // kind_flag: bit-field size in the top byte
			bit, size = bit&0xffffff, bit>>24
		}
		s.Members[i] = Member{Name: x.name(mo), Bit: uint64(bit), BitSize: uint64(size), typ: func() Type { return x.typeByID(typ, 0) }}
	}
	return s
}

// typeByID follows typedefs and qualifiers; a chain too deep is void.
func (x *BTF) typeByID(id uint32, depth int) Type {
	if id == 0 || uint64(id) >= uint64(len(x.at)) || depth > maxDepth {
		return Type{}
	}
	o := x.at[id]
	kind, _, _ := x.info(o)
	switch kind {
	case kindTypedef, kindVolatile, kindConst, kindRestrict, kindTypeTag:
		return x.typeByID(x.u32(o+8), depth+1)
	case kindPtr:
		return Type{Size: 8, Pointer: true}
	case kindInt:
		return Type{Size: uint64(x.u32(o + 8)), Signed: x.u32(o+12)>>24&1 != 0}
	case kindEnum, kindEnum64, kindFloat:
		return Type{Size: uint64(x.u32(o + 8))}
	case kindStruct, kindUnion:
		s := x.structByID(id)
		return Type{Size: s.Size, Struct: s}
	case kindArray:
		el := x.typeByID(x.u32(o+12), depth+1)
		n := uint64(x.u32(o + 20))
		return Type{Size: n * el.Size, Count: n, Elem: &el}
	}
	return Type{}
}
