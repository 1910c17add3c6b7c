package process

import (
	"github.com/xentape/xentape/analyze/internal/linux/phys"
	"github.com/xentape/xentape/analyze/internal/linux/vmcoreinfo"
	"github.com/xentape/xentape/replay"
)

// KernelNote is the text by which a Linux kernel describes itself to crash tools
// (VMCOREINFO), as it stands in a guest's memory: what drgn and crash want as a
// note of a core file. ok is false when memory holds none.
func KernelNote(m replay.Memory) (text []byte, ok bool) {
	mem, err := phys.New(m)
	if err != nil {
		return nil, false
	}
	var unread phys.Unread
	for in := range vmcoreinfo.Find(mem, &unread) {
		return []byte(in.Text), true
	}
	return nil, false
}
