package export

import (
	"encoding/binary"
	"fmt"

	"github.com/xentape/xentape/replay"
)

// xenVersionNote is the attachment that holds dump-core's version note, of
// xenVersionSize bytes: struct xen_dumpcore_elfnote_xen_version_desc for x86-64
// (public/elfnote.h) has versions, compile info, capabilities, changeset.
const (
	xenVersionNote = "xen/dumpcore-version"
	xenVersionSize = 1312
)

// versionNote is that note, as it came, or with the release alone.
func versionNote(m replay.Memory) []byte {
	if b, ok := m.Attachment(xenVersionNote); ok {
		return b
	}
	b := make([]byte, xenVersionSize)
	major, minor, _ := xenVersion(m)
	binary.LittleEndian.PutUint64(b, uint64(major))
	binary.LittleEndian.PutUint64(b[8:], uint64(minor))
	return b
}

// xenVersion is the release of the hypervisor, where it is known.
func xenVersion(m replay.Memory) (major, minor uint32, ok bool) {
	_, err := fmt.Sscanf(m.Info().Xen, "%d.%d", &major, &minor)
	return major, minor, err == nil
}
