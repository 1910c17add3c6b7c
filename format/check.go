package format

import (
	"errors"
	"fmt"
)

// checkRecord refuses records that could not be read back.
func checkRecord(r Record) error {
	if as := attrsOf(r); len(as) > MaxAttrs {
		return fmt.Errorf("record with %d attributes: the format allows %d", len(as), MaxAttrs)
	}
	switch r := r.(type) {
	case nil:
		return errors.New("record is nil")
	case *DiskRequest:
		if len(r.Data) > MaxDiskData {
			return fmt.Errorf("disk request with %d bytes of data: the format allows %d", len(r.Data), MaxDiskData)
		}
	case *Gap:
		if len(r.Extents) > MaxExtents {
			return fmt.Errorf("gap with %d extents: the format allows %d", len(r.Extents), MaxExtents)
		}
		if r.To < r.From {
			return fmt.Errorf("gap ends at %d before it begins at %d", r.To, r.From)
		}
	}
	return nil
}

func attrsOf(r Record) []Attr {
	switch r := r.(type) {
	case *StreamDef:
		return r.Attrs
	case *Attachment:
		return r.Attrs
	case *Event:
		return r.Attrs
	}
	return nil
}
