// Package xfs reads xfs filesystems, versions 4 and 5, from their bytes alone,
// and follows their changes through the log.
//
// The reader (Volume) decodes what stands in place. The log (Log) is where a
// change is known first: a mounted xfs may leave its metadata in place untouched
// for half a minute, so that without the log most recent files do not exist
// (kernel: fs/xfs/xfs_log_recover.c and the xfs_*_item_recover.c beside it).
//
// Layouts are those of fs/xfs/libxfs/xfs_format.h, xfs_da_format.h and
// xfs_log_format.h of Linux 6.18. Everything read is taken as hostile: fields
// are checked before use, trees and chains carry loop guards, memory is bounded.
package xfs
