//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What of the file system Landlock can handle, by version of its interface
// (linux/landlock.h). LANDLOCK_ACCESS_FS_IOCTL_DEV is left out: descriptors come from
// the broker, and what may be asked of them is seccomp's affair.
const (
	accessV1  = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1
	accessV2  = accessV1 | unix.LANDLOCK_ACCESS_FS_REFER
	accessV3  = accessV2 | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	netAccess = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP // V4

	readAccess  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	writeAccess = readAccess | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_DIR |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_REFER | unix.LANDLOCK_ACCESS_FS_TRUNCATE
)

// LandlockVersion is the version of this kernel's interface. 2, of Linux 5.19, is the
// first that will do.
func LandlockVersion() (int, error) {
	version, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0, fmt.Errorf("this kernel has none: %w", e)
	}
	return int(version), nil
}

// landlock limits the file system to the rules.
func landlock(rules *Rules) error {
	version, err := LandlockVersion()
	if err != nil {
		return err
	}
	// Version 1 forbids all links and renames between directories, which keeping
	// tapes takes.
	attr := unix.LandlockRulesetAttr{Handled_access_fs: accessV2}
	switch {
	case version < 2:
		return errors.New("version 1 of its interface is not enough")
	case version >= 3:
		attr.Handled_access_fs = accessV3
	}
	if version >= 4 {
		attr.Handled_access_net = netAccess
	}
	fd, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr.Handled_access_fs)+unsafe.Sizeof(attr.Handled_access_net), 0)
	if e != 0 {
		return fmt.Errorf("create ruleset: %w", e)
	}
	ruleset := os.NewFile(fd, "landlock")
	defer ruleset.Close()
	for _, set := range []struct {
		paths  []string
		access uint64
	}{{rules.Read, readAccess}, {rules.Write, writeAccess}} {
		for _, path := range set.paths {
			if err := allowBelow(ruleset, path, set.access&attr.Handled_access_fs); err != nil {
				return err
			}
		}
	}
	if err := everyThread(unix.SYS_LANDLOCK_RESTRICT_SELF, ruleset.Fd(), 0, 0); err != nil {
		return fmt.Errorf("restrict: %w", err)
	}
	return nil
}

// fileAccess is what a rule about a single file may say.
const fileAccess = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE

func allowBelow(ruleset *os.File, path string, access uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil // what is not there needs no leave
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= fileAccess
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	_, _, e := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, ruleset.Fd(), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	runtime.KeepAlive(&rule)
	if e != 0 {
		return fmt.Errorf("rule for %s: %w", path, e)
	}
	return nil
}
