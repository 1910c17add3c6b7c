package linux

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/linux/phys"
)

// UnknownGuest says that no Linux kernel could be followed, and what the memory
// looks like instead.
type UnknownGuest struct {
	System string // "Windows", "FreeBSD", "Linux", … or "" when nothing was recognised
	Err    error  // what was tried
}

func (u *UnknownGuest) Error() string {
	switch u.System {
	case "":
		return "guest system not recognised: " + u.Err.Error()
	case "Linux":
		return "Linux guest, but its kernel cannot be followed: " + u.Err.Error()
	}
	return fmt.Sprintf("%s guest: its processes are not supported", u.System)
}

// Unwrap gives the failures of the ways tried.
func (u *UnknownGuest) Unwrap() error { return u.Err }

// marks are texts only the running kernel of a system has in memory. Windows:
// the debug directory of ntoskrnl names its PDB.
var marks = []struct{ system, text string }{
	{"Windows", "ntkrnlmp.pdb\x00"},
	{"Windows", "ntkrnlpa.pdb\x00"},
	{"FreeBSD", "@(#)FreeBSD "},
	{"NetBSD", "@(#)NetBSD "},
	{"OpenBSD", "@(#)OpenBSD "},
	{"Linux", bannerStart},
}

func recognise(mem *phys.Memory, failed []error) error {
	found := make([]bool, len(marks))
	frames := 0
	mem.Scan(nil, func(_ uint64, p *phys.Page) bool {
		frames++
		for i, m := range marks {
			found[i] = found[i] || bytes.Contains(p[:], []byte(m.text))
		}
		return true
	})
	if frames == 0 {
		failed = append(failed, errors.New("memory holds no data"))
	}
	u := &UnknownGuest{Err: errors.Join(failed...)}
	for i, m := range marks {
		if found[i] {
			u.System = m.system
			break
		}
	}
	return u
}
