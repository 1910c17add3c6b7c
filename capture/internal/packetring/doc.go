// Package packetring reads frames from one network interface through an AF_PACKET
// socket with a TPACKET_V3 ring (linux/if_packet.h): the kernel fills blocks of
// shared memory, the reader takes whole blocks. It holds the only unsafe code of
// packet capture, and treats what is in the ring as it would a file.
package packetring
