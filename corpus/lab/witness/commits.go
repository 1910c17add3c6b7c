//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
)

// commitCounters are where a kernel says how often a file system committed what it
// held in memory: ext4's journal (fs/jbd2/journal.c, jbd2_seq_info_show: "N
// transactions …"), the head of xfs's log (fs/xfs/xfs_sysfs.c), and btrfs since Linux
// 6.0 (fs/btrfs/sysfs.c: "commits N"). The guest's root is the only file system with
// any of them: the disk that is written to here has no journal.
var commitCounters = []string{
	"proc/fs/jbd2/*/info",
	"sys/fs/xfs/*/log/log_head_lsn",
	"sys/fs/btrfs/*/commit_stats",
}

// commits is the first line of that counter, below root: the same text twice means that no
// commit ended in between. Empty where the kernel does not say, or more than one
// file system does.
func commits(root string) string {
	var found []string
	for _, pattern := range commitCounters {
		// Glob fails on a malformed pattern alone.
		names, _ := filepath.Glob(filepath.Join(root, pattern))
		found = append(found, names...)
	}
	if len(found) != 1 {
		return ""
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}
