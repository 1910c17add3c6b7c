// Package ext4 reads ext2, ext3 and ext4 and follows them from their block
// writes. Layouts are those of fs/ext4/ext4.h and include/linux/jbd2.h of Linux
// 6.12, and of Documentation/filesystems/ext4 where that says more.
//
// The journal is the source of events: a transaction is applied to the view
// when its commit block arrives, not when its blocks reach their place, which is
// up to half a minute later. What arrives in place afterwards must be equal; if
// it is not, someone wrote beneath the filesystem.
//
// The files, from the disk up: super, group (where things are), inode, mapping
// (extents and indirect blocks), dir, xattr, content (what they hold), claims
// (block to owner), journal, recover and fastcommit (jbd2), follow (writes in),
// diff (transactions out).
package ext4
