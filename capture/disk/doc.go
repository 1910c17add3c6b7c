// Package disk records the requests a guest makes of one virtual disk, as its
// backend submits them to a device of this host, with the content of writes, and
// the disk's content at the beginning.
//
// The guest never waits for the recorder. What does not fit the recorder's ring
// is dropped by the kernel, which marks the part of the disk that was touched;
// that part is a gap on the tape until it has been read back from the device.
// The base image is copied while the guest writes: with the requests of the tape
// applied on top it is the disk of the moment at which the copy ended.
package disk
