// Package btrfs reads btrfs filesystems on one device from their bytes alone and
// follows their changes from one superblock to the next.
//
// btrfs never overwrites metadata that the last superblock refers to. So a
// superblock with the next generation is the commit, and at the moment it is
// written both trees, old and new, can still be read: what changed is found by
// walking only the blocks that the two do not share. Between commits, fsync
// writes a log tree and names it in the superblock; it is laid over the trees
// as a mount after a crash would.
//
// Layouts are those of include/uapi/linux/btrfs_tree.h of Linux 6.18; log replay
// follows fs/btrfs/tree-log.c. Profiles: single, DUP, and mirrors of which this
// device holds a copy.
package btrfs
