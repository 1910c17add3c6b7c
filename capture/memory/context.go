package memory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/xentape/xentape/capture/internal/hypercall"
	"github.com/xentape/xentape/capture/internal/xenabi"
)

// missing is a part of a snapshot that could not be had, and why.
type missing struct {
	part string
	err  error
}

// machineState is what a snapshot holds besides memory.
type machineState struct {
	blobs   []Blob
	missing []missing
	grants  hypercall.Grants
}

func (m *machineState) add(name string, data []byte, err error) {
	if m.lacks(name, err); err == nil {
		m.blobs = append(m.blobs, Blob{name, data})
	}
}

// lacks notes a part that is missing, if there is a reason.
func (m *machineState) lacks(part string, err error) {
	if err != nil {
		m.missing = append(m.missing, missing{part, err})
	}
}

// readState collects vCPU and device contexts, grant table and shared info. It is
// called while the guest is paused, and is a few hypercalls long.
func readState(x *hypercall.Xen, info xenabi.DomainInfo) *machineState {
	m := &machineState{}
	for v := uint32(0); v <= info.MaxVCPUID; v++ {
		context, err := x.VCPUContext(info.Domain, v)
		if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ESRCH) {
			continue // never brought up: there is no context
		}
		m.add(fmt.Sprintf("xen/vcpu/%d", v), context, err)
	}
	if info.HVM() {
		context, err := x.HVMContext(info.Domain)
		m.add("xen/hvm-context", context, err)
		params, err := x.HVMParams(info.Domain)
		m.add("xen/hvm-params", params, err)
	}
	tsc, err := x.TSCInfo(info.Domain)
	m.add("xen/tsc-info", tsc, err)
	if info.SharedInfoFrame != 0 && info.SharedInfoFrame < maxPages<<8 {
		frame, err := readFrames(x, info.Domain, []uint64{info.SharedInfoFrame})
		m.add("xen/shared-info", frame, err)
	}
	m.grants, err = x.Grants(info.Domain)
	m.add("xen/grant-table", m.grants.Table, err)
	return m
}

// p2mBlob is the map of a PV guest as the guest has it: little-endian u64 by page,
// ~0 where there is no frame, the top bits set for frames that are not the guest's.
func p2mBlob(l *layout) []byte {
	b := make([]byte, 0, 8*len(l.p2m))
	for _, e := range l.p2m {
		b = binary.LittleEndian.AppendUint64(b, e)
	}
	return b
}
