package files

import (
	"fmt"
	"path"
	"strings"
)

// permissions: a program that runs with its owner's rights.
func (f *finder) permissions(e *Event) {
	const setuid, setgid, groupExec = 0o4000, 0o2000, 0o010
	if e.Type != "file" || !e.Mode.Set || e.Op != OpCreate && e.Op != OpChmod && e.Op != OpChown && e.Op != OpRename {
		return
	}
	special := e.Mode.Bits & setuid
	if e.Mode.Bits&setgid != 0 && e.Mode.Bits&groupExec != 0 {
		special |= setgid
	}
	if special == 0 || e.Op == OpChmod && e.ModeOld.Bits&special == special || e.Op == OpRename && e.OldPath != "" {
		return
	}
	who := "its owner"
	if e.UID != nil {
		who = fmt.Sprintf("uid %d", *e.UID)
	}
	severity := "medium"
	if special&setuid != 0 && e.UID != nil && *e.UID == 0 {
		severity = "high"
	}
	reasons := []string{fmt.Sprintf("mode %s: runs as %s", e.Mode, who)}
	if strings.HasPrefix(path.Base(e.Path), ".") {
		reasons = append(reasons, "hidden name")
	}
	f.about(e, FindSetuid, severity, reasons...)
}

// replaced reports whether the event put another inode in a path's place.
func (e *Event) replaced() bool { return e.ReplacedInode != 0 }

// places that make code run again, or that say who may log in.
var persistent = []struct{ part, why string }{
	{"/etc/cron", "cron job"}, {"/var/spool/cron/", "cron job"}, {"/etc/systemd/system/", "systemd unit"},
	{"/lib/systemd/system/", "systemd unit"}, {"/.config/systemd/user/", "systemd user unit"}, {"/etc/init.d/", "init script"},
	{"/etc/rc.local", "boot script"}, {"/etc/ld.so.preload", "library loaded into every process"},
	{"/.ssh/authorized_keys", "key that may log in"}, {"/etc/profile", "shell start-up"}, {"/.bashrc", "shell start-up"},
	{"/.profile", "shell start-up"}, {"/.bash_profile", "shell start-up"}, {"/etc/pam.d/", "authentication rule"},
	{"/lib/modules/", "kernel module"}, {"/etc/udev/rules.d/", "udev rule"}, {"/etc/modules", "kernel module list"},
	{"/etc/xdg/autostart/", "desktop autostart"}, {"/etc/update-motd.d/", "login script"}, {"/Start Menu/Programs/Startup/", "Windows start-up folder"},
	{"/Windows/System32/Tasks/", "Windows scheduled task"},
}

var accounts = []string{"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/sudoers"}

// changes reports whether an event alters what is at its path.
func (e *Event) changes() bool {
	switch e.Op {
	case OpCreate, OpRename, OpLink, OpSymlink, OpWrite, OpTruncate:
		return true
	}
	return false
}

func (f *finder) places(e *Event) {
	if !e.changes() || e.Type == "dir" {
		return
	}
	if e.Op != OpWrite || e.SizeOld != nil || e.SHA256Old != "" { // the write that fills a new file adds nothing
		if why := runsAgain(e.Path); why != "" {
			f.about(e, FindPersistence, "medium", fmt.Sprintf("%s: %s", why, e.Op))
		}
	}
	for _, a := range accounts {
		if e.Path == a || strings.HasPrefix(e.Path, "/etc/sudoers.d/") {
			f.account(e)
			break
		}
	}
	if systemPlace(e.Path) && (e.MagicNew == "elf" && e.MagicOld != "" || e.MagicOld == "elf") && e.SHA256Old != "" && e.SHA256Old != e.SHA256New {
		f.about(e, FindBinary, "medium", fmt.Sprintf("program changed: %s", e.Op))
	}
}

// runsAgain says what makes code in a file run again, "" if nothing is known to.
func runsAgain(path string) string {
	for _, p := range persistent {
		if strings.Contains(path, p.part) {
			return p.why
		}
	}
	return ""
}

func systemPlace(p string) bool {
	for _, dir := range []string{"/bin/", "/sbin/", "/lib/", "/lib64/", "/usr/bin/", "/usr/sbin/", "/usr/lib/", "/boot/"} {
		if strings.HasPrefix(p, dir) {
			return true
		}
	}
	return false
}

// account looks for new lines with user id 0 and says what else came.
func (f *finder) account(e *Event) {
	var why []string
	severity := "medium"
	for line := range strings.Lines(e.Diff) {
		if line[0] != '+' || strings.HasPrefix(line, "+++") {
			continue
		}
		fields := strings.Split(strings.TrimSpace(line[1:]), ":")
		if len(fields) >= 4 && path.Base(e.Path) == "passwd" && fields[2] == "0" && fields[0] != "root" {
			severity = "high"
			why = append(why, fmt.Sprintf("new account %q with user id 0", fields[0]))
		} else if len(fields) > 1 {
			why = append(why, fmt.Sprintf("line of %q added or changed", fields[0]))
		}
	}
	if len(why) == 0 {
		if e.Diff == "" && e.Op != OpRename && e.SizeOld == nil {
			return // the user database as it was made
		}
		why = []string{fmt.Sprintf("user database changed: %s", e.Op)}
	}
	f.about(e, FindAccount, severity, why...)
}
