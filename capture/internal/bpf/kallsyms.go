package bpf

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// symbols finds the addresses of names in a /proc/kallsyms. Names not there are
// not in the result; an address of 0 means that the reader may not see any.
func symbols(r io.Reader, names ...string) (map[string]uint64, error) {
	out := map[string]uint64{}
	for s := bufio.NewScanner(r); ; {
		if !s.Scan() {
			return out, s.Err()
		}
		f := strings.Fields(s.Text())
		if len(f) != 3 { // a symbol of a module has its name as a fourth
			continue
		}
		for _, name := range names {
			if f[2] != name {
				continue
			}
			at, err := strconv.ParseUint(f[0], 16, 64)
			if err != nil {
				return nil, fmt.Errorf("kallsyms: %s: %w", name, err)
			}
			out[name] = at
		}
	}
}
