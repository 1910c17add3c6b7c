// Package broker keeps privilege away from the recorder. A small process of its own
// holds what root is needed for; the recorder, which handles the guest's bytes, asks
// it for descriptors and for the few hypercalls that recording takes, and has no
// privilege itself.
//
// What a recorder can have of a broker, for the guests it was started for and no
// other: a privcmd descriptor that maps frames of one guest and makes no hypercall;
// hypercalls that look (policy.go names them) and dirty page tracking; the guest's
// disks, for reading; the kernel's record of requests to them; a socket bound to one
// of its interfaces; xenstore, for reading; and the files its configuration names.
// Pauses are the guard's affair.
//
// Recorder and broker speak over three sockets: requests, one JSON message each way,
// with descriptors; hypercalls, a fixed struct each way, their buffers in shared
// memory; and xenstore's own protocol. The broker ends when the first of them does.
package broker
