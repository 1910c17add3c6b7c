// Package types answers where a member lies within a kernel structure. The
// answers come from BTF (in the guest's own memory, or a file) or from an ISF
// file; what reads them does not care which.
package types

import (
	"fmt"
	"strconv"
	"strings"
)

// Set is the structures of one kernel build.
type Set interface {
	// Struct returns a structure or union by its tag, nil when there is none.
	Struct(name string) *Struct
}

// Type is what is known of a member's type.
type Type struct {
	Size    uint64  // bytes
	Struct  *Struct // the structure or union embedded, nil for scalars and pointers
	Count   uint64  // elements, of an array
	Elem    *Type   // of an array
	Signed  bool
	Pointer bool
}

// Member is one member of a structure.
type Member struct {
	Name    string // "" for an anonymous structure or union
	Bit     uint64 // offset from the structure's start, in bits
	BitSize uint64 // 0 unless a bit field
	typ     func() Type
}

// Struct is a structure or union.
type Struct struct {
	Name    string
	Size    uint64
	Members []Member
	fields  map[string]*Field
}

// Field is a member found by its path.
type Field struct {
	Offset   uint64 // bytes from the outermost structure's start
	BitShift uint64 // of a bit field within the bytes read
	BitSize  uint64 // 0 unless a bit field
	Type
}

const (
	maxDepth     = 32      // of a chain of types
	maxAnonymous = 1 << 10 // structures looked through for one member
)

// Field returns the member at a path of names joined by dots, looking through
// anonymous members and indexing arrays ("numbers.0.nr"); nil when there is none.
func (s *Struct) Field(path string) *Field {
	if s == nil {
		return nil
	}
	if f, ok := s.fields[path]; ok {
		return f
	}
	f := s.resolve(path)
	if s.fields == nil {
		s.fields = map[string]*Field{}
	}
	s.fields[path] = f
	return f
}

func (s *Struct) resolve(path string) *Field {
	f := &Field{Type: Type{Size: s.Size, Struct: s}}
	for _, name := range strings.Split(path, ".") {
		if f.Elem != nil {
			i, err := strconv.ParseUint(name, 10, 32)
			if err != nil || (f.Count > 0 && i >= f.Count) {
				return nil
			}
			f = &Field{Offset: f.Offset + i*f.Elem.Size, Type: *f.Elem}
			continue
		}
		if f.Struct == nil || name == "" {
			return nil
		}
		m, bit := f.Struct.find(name, 0, map[*Struct]bool{})
		if m == nil {
			return nil
		}
		f = &Field{Offset: f.Offset + bit/8, BitShift: bit % 8, BitSize: m.BitSize, Type: m.typ()}
	}
	return f
}

// find looks for a member, and below the anonymous ones. Each structure is looked
// through once: what did not have it the first time does not have it the second, and
// made-up types can lead to one in more ways than can be tried.
func (s *Struct) find(name string, base uint64, seen map[*Struct]bool) (*Member, uint64) {
	seen[s] = true
	for i := range s.Members {
		m := &s.Members[i]
		if m.Name == name {
			return m, base + m.Bit
		}
		if m.Name != "" {
			continue
		}
		if in := m.typ().Struct; in != nil && !seen[in] && len(seen) < maxAnonymous {
			if m, bit := in.find(name, base+m.Bit, seen); m != nil {
				return m, bit
			}
		}
	}
	return nil, 0
}

// Require names the members of want ("task_struct.tasks") that set lacks.
func Require(set Set, want ...string) error {
	var missing []string
	for _, w := range want {
		name, path, _ := strings.Cut(w, ".")
		if s := set.Struct(name); s == nil || (path != "" && s.Field(path) == nil) {
			missing = append(missing, w)
		}
	}
	if missing != nil {
		return fmt.Errorf("type information lacks %s", strings.Join(missing, ", "))
	}
	return nil
}
