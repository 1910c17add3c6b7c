package network

import (
	"fmt"

	"github.com/xentape/xentape/format"
)

// Doubts says, one line each, what could not be looked at: packets missing from
// the tape, packets that could not be read, content that was given up. It is
// empty when everything was. It is complete after Finish.
func (a *Analyzer) Doubts() []string {
	var lines []string
	lost, unknown := uint64(0), false
	for i := range a.gaps {
		if a.gaps[i].Count == format.Unknown {
			unknown = true
		} else {
			lost += a.gaps[i].Count
		}
	}
	switch n := len(a.gaps); {
	case n > 0 && unknown:
		lines = append(lines, fmt.Sprintf("%d gaps in the recording of packets, at least %d packets lost", n, lost))
	case n > 0:
		lines = append(lines, fmt.Sprintf("%d gaps in the recording of packets, %d packets lost", n, lost))
	}
	s := &a.stats
	for _, c := range []struct {
		n    uint64
		what string
	}{
		{s.Truncated, "packets cut short within their headers"},
		{s.Malformed, "packets whose headers contradict themselves"},
		{s.BadChecksum, "packets left out for a wrong IP header checksum"},
		{s.Offloaded, "packets left out because their length was left to the network card (checksums are being verified)"},
		{s.Lost, "datagrams whose fragments never were complete"},
		{s.Evicted, "connections ended early because too many were open"},
		{s.Unparsed, "streams whose content was given up because too much of it was missing"},
	} {
		if c.n > 0 {
			lines = append(lines, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	return lines
}
