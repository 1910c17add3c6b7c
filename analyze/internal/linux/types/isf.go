package types

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"
)

// ISF is an intermediate symbol file as dwarf2json writes and Volatility 3
// reads it. Only what is asked for is kept decoded.
type ISF struct {
	base    map[string]isfBase
	user    map[string]json.RawMessage
	enums   map[string]isfBase
	symbols map[string]isfSymbol
	structs map[string]*Struct
}

type isfBase struct {
	Size   uint64 `json:"size"`
	Signed bool   `json:"signed"`
}

type isfSymbol struct {
	Address  uint64 `json:"address"`
	Constant []byte `json:"constant_data"`
}

type isfType struct {
	Kind     string   `json:"kind"`
	Name     string   `json:"name"`
	Count    uint64   `json:"count"`
	Subtype  *isfType `json:"subtype"`
	BitLen   uint64   `json:"bit_length"`
	BitPos   uint64   `json:"bit_position"`
	BitField *isfType `json:"type"`
}

type isfStruct struct {
	Size   uint64 `json:"size"`
	Fields map[string]struct {
		Offset    uint64  `json:"offset"`
		Type      isfType `json:"type"`
		Anonymous bool    `json:"anonymous"`
	} `json:"fields"`
}

// ParseISF reads an uncompressed ISF document.
func ParseISF(b []byte) (*ISF, error) {
	var d struct {
		Base    map[string]isfBase         `json:"base_types"`
		User    map[string]json.RawMessage `json:"user_types"`
		Enums   map[string]isfBase         `json:"enums"`
		Symbols map[string]isfSymbol       `json:"symbols"`
	}
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("isf: %w", err)
	}
	if len(d.User) == 0 {
		return nil, errors.New("isf: no user_types")
	}
	return &ISF{base: d.Base, user: d.User, enums: d.Enums, symbols: d.Symbols, structs: map[string]*Struct{}}, nil
}

// Symbol returns an address as linked, before any relocation.
func (x *ISF) Symbol(name string) (uint64, bool) {
	s, ok := x.symbols[name]
	return s.Address, ok
}

// Banner is the linux_banner the file was made for, "" when it does not say.
func (x *ISF) Banner() string {
	c := x.symbols["linux_banner"].Constant
	for len(c) > 0 && c[len(c)-1] == 0 {
		c = c[:len(c)-1]
	}
	return string(c)
}

// Struct implements Set.
func (x *ISF) Struct(name string) *Struct {
	if s, ok := x.structs[name]; ok {
		return s
	}
	raw, ok := x.user[name]
	if !ok {
		return nil
	}
	var d isfStruct
	if json.Unmarshal(raw, &d) != nil {
		return nil
	}
	s := &Struct{Name: name, Size: d.Size}
	x.structs[name] = s
	for field, f := range d.Fields {
		m := Member{Name: field, Bit: f.Offset * 8, typ: func() Type { return x.typeOf(&f.Type, 0) }}
		if f.Anonymous {
			m.Name = ""
		}
		if f.Type.Kind == "bitfield" {
			m.Bit, m.BitSize = m.Bit+f.Type.BitPos, f.Type.BitLen
		}
		s.Members = append(s.Members, m)
	}
	sort.Slice(s.Members, func(i, j int) bool {
		a, b := &s.Members[i], &s.Members[j]
		return a.Bit < b.Bit || (a.Bit == b.Bit && a.Name < b.Name)
	})
	return s
}

func (x *ISF) typeOf(t *isfType, depth int) Type {
	if t == nil || depth > maxDepth {
		return Type{}
	}
	switch t.Kind {
	case "base":
		b := x.base[t.Name]
		return Type{Size: b.Size, Signed: b.Signed}
	case "enum":
		return Type{Size: x.enums[t.Name].Size}
	case "pointer", "function":
		return Type{Size: 8, Pointer: true}
	case "bitfield":
		return x.typeOf(t.BitField, depth+1)
	case "struct", "union", "class":
		if s := x.Struct(t.Name); s != nil {
			return Type{Size: s.Size, Struct: s}
		}
	case "array":
		el := x.typeOf(t.Subtype, depth+1)
		return Type{Size: t.Count * el.Size, Count: t.Count, Elem: &el}
	}
	return Type{}
}
