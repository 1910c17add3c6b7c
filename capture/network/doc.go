// Package network records the frames of one virtual interface of a guest, as they
// pass the backend's side of it (vifD.N, or any other interface of this host).
//
// Frames are taken whole, with segmentation and checksums still to be done where
// the guest left them so (struct virtio_net_hdr tells), and with their direction.
// A frame towards the guest is seen when it is handed to the backend, which may
// still drop it: those drops are recorded as events. Frames the recorder had no
// room for are counted by the kernel and recorded as gaps.
package network
