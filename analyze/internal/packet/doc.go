// Package packet decodes captured frames down to the transport header: link
// layers, IP with its options, extension headers and fragments, and the
// headers of tunnels.
//
// It is the hot path of connection analysis: nothing is allocated for a packet
// (but for reassembling IP fragments), results point into the caller's bytes,
// and no input makes it panic or loop. What it rejects and what it passes
// follows Zeek's packet analyzers, so that the packets counted are the same.
package packet
