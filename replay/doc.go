// Package replay turns a tape back into the machine it was recorded from, at any
// moment of the recording and read-only: memory at a snapshot, a disk as its
// guest saw it, packets in the order they passed.
package replay
