package types

import "iter"

// Functions gives the names of the functions the kernel was built of.
func (x *BTF) Functions() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, o := range x.at[1:] {
			if kind, _, _ := x.info(o); kind == kindFunc && !yield(x.name(o)) {
				return
			}
		}
	}
}

// Variables gives the variables of one section of the kernel's image, and how far
// each is from the section's start: of ".data..percpu", as a rule the only one
// described.
func (x *BTF) Variables(section string) iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		for _, o := range x.at[1:] {
			kind, n, _ := x.info(o)
			if kind != kindDatasec || x.name(o) != section {
				continue
			}
			for i := uint32(0); i < uint32(n); i++ {
				v := o + 12 + 12*i
				id := x.u32(v)
				if id == 0 || uint64(id) >= uint64(len(x.at)) {
					continue
				}
				if kind, _, _ := x.info(x.at[id]); kind == kindVar && !yield(x.name(x.at[id]), uint64(x.u32(v+4))) {
					return
				}
			}
		}
	}
}
