// Package network turns the packets of a tape, or of any capture file, into
// connections and what was said in them, in Zeek's terms: the names, states,
// history letters and roles are those of Zeek's conn.log, and its published
// logs are what this package is scored on.
//
// An [Analyzer] is fed records in tape order and keeps bounded state for each
// live connection. What it concludes does not depend on the number of workers,
// on when connections are swept out, or on map order.
//
// Packets of a virtual interface are taken as what they are. A frame whose
// checksum the guest left to the host (NEEDS_CSUM) has no bad checksum; a
// segmentation-offload super-frame is one packet in the packet counts, with its
// whole length in the byte counts, as the guest handed it over.
package network
