// Package foreign reads what other tools recorded: memory images (xl dump-core,
// xl save, ELF vmcore, LiME, raw), block write logs (dm-log-writes), and packet
// captures (pcap, pcapng). Each is a source like the live ones, and Import puts
// any of them on a tape.
//
// Every reader here decides by content, never by file name, and takes its input
// as hostile: lengths are checked before memory is allocated, every chain of
// offsets only moves forward, and what is damaged is reported and passed over
// where the rest can still be kept.
package foreign
