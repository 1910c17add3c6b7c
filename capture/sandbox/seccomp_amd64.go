//go:build linux

package sandbox

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture/internal/xenabi"
)

// Offsets in struct seccomp_data (linux/seccomp.h): {int nr; u32 arch; u64 ip; u64 args[6]}.
const (
	dataCall = 0
	dataArch = 4
	dataArgs = 16
)

// always are the system calls that neither name a file nor reach another process: what
// Go's runtime and the recorder go on using.
var always = []uintptr{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREAD64, unix.SYS_PWRITE64,
	unix.SYS_CLOSE, unix.SYS_LSEEK, unix.SYS_FSTAT, unix.SYS_FSTATFS, unix.SYS_FTRUNCATE, unix.SYS_FSYNC,
	unix.SYS_FDATASYNC, unix.SYS_FCNTL, unix.SYS_DUP, unix.SYS_GETDENTS64, unix.SYS_FALLOCATE, unix.SYS_FADVISE64,
	unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_MINCORE, unix.SYS_MREMAP, unix.SYS_BRK, unix.SYS_MLOCK,
	unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES,
	unix.SYS_GETTIMEOFDAY, unix.SYS_TIME, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_MEMBARRIER,
	unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETRUSAGE, unix.SYS_GETRANDOM,
	unix.SYS_GETCPU, unix.SYS_UNAME, unix.SYS_RSEQ, unix.SYS_SET_ROBUST_LIST, unix.SYS_IOPRIO_SET,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_DELETE, unix.SYS_SETITIMER,
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_WAIT4, unix.SYS_WAITID,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_WAIT, unix.SYS_EVENTFD2,
	unix.SYS_POLL, unix.SYS_PPOLL, unix.SYS_PIPE2, unix.SYS_ARCH_PRCTL,
	// Of sockets that there are, or that come in on one.
	unix.SYS_ACCEPT4, unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SHUTDOWN,
	unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_GETSOCKOPT,
	// These name files: Landlock says which.
	unix.SYS_NEWFSTATAT, unix.SYS_STATX, unix.SYS_READLINKAT, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_STATFS,
	unix.SYS_UNLINKAT,
}

// making are those that make and rename files.
var making = []uintptr{
	unix.SYS_MKDIRAT, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINKAT, unix.SYS_FCHMOD, unix.SYS_FCHMODAT,
}

// connecting are those that make sockets and name them.
var connecting = []uintptr{unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_CONNECT, unix.SYS_SETSOCKOPT}

// Commands of bpf that look into maps which this process was given (linux/bpf.h),
// beside bpfMapLookup.
const (
	bpfMapNextKey = 4
	bpfObjectInfo = 15
)

// filterCalls limits system calls. What is not allowed fails with EPERM: the recorder
// goes on without, and says so, rather than die and lose what it has.
func filterCalls(rules *Rules) error {
	p := program{}
	p.load(dataArch)
	p.unless(unix.AUDIT_ARCH_X86_64, deny)
	p.load(dataCall)
	for _, nr := range always {
		p.allow(nr)
	}
	if rules.Create {
		for _, nr := range making {
			p.allow(nr)
		}
		p.allow(unix.SYS_OPENAT)
	} else {
		p.allowIf(unix.SYS_OPENAT, func() { p.argHasNone(2, unix.O_WRONLY|unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC) })
	}
	if rules.Sockets {
		for _, nr := range connecting {
			p.allow(nr)
		}
		p.allowIf(unix.SYS_SOCKET, func() { p.argIsOneOf(0, unix.AF_UNIX) })
	}
	p.allowIf(unix.SYS_IOCTL, func() { p.argIsOneOf(1, xenabi.IoctlMmapBatchV2, xenabi.IoctlMapResource) })
	p.allowIf(unix.SYS_BPF, func() { p.argIsOneOf(0, bpfMapLookup, bpfMapNextKey, bpfObjectInfo) })
	p.allowIf(unix.SYS_CLONE, func() { p.argHasAll(0, unix.CLONE_THREAD) })
	p.allowIf(unix.SYS_TGKILL, func() { p.argIsOneOf(0, uint32(os.Getpid())) })
	p.allowIf(unix.SYS_MMAP, func() { p.argHasNone(2, unix.PROT_EXEC) })
	p.allowIf(unix.SYS_MPROTECT, func() { p.argHasNone(2, unix.PROT_EXEC) })
	// A runtime that meets ENOSYS uses clone, whose flags can be looked at.
	p.answer(unix.SYS_CLONE3, unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS))
	p.ret(deny)
	return p.install()
}

const deny = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)

// program is a filter in classic BPF. The accumulator holds the number of the call
// between its parts.
type program []unix.SockFilter

func (p *program) add(code uint16, jt, jf uint8, k uint32) {
	*p = append(*p, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}

func (p *program) load(offset uint32) { p.add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, 0, offset) }
func (p *program) ret(k uint32)       { p.add(unix.BPF_RET|unix.BPF_K, 0, 0, k) }

// unless returns k when the accumulator is not v.
func (p *program) unless(v, k uint32) {
	p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 1, 0, v)
	p.ret(k)
}

// answer returns k for one call.
func (p *program) answer(nr uintptr, k uint32) {
	p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, 1, uint32(nr))
	p.ret(k)
}

func (p *program) allow(nr uintptr) { p.answer(nr, unix.SECCOMP_RET_ALLOW) }

// allowIf allows one call if the test, which returns by itself, says so.
func (p *program) allowIf(nr uintptr, test func()) {
	at := len(*p)
	p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, 0, uint32(nr))
	test()
	(*p)[at].Jf = uint8(len(*p) - at - 1)
}

// The lower half of an argument; for flags and numbers of 32 bits the kernel looks at
// no more.
func (p *program) loadArg(arg int) { p.load(dataArgs + 8*uint32(arg)) }

func (p *program) argIsOneOf(arg int, values ...uint32) {
	p.loadArg(arg)
	for _, v := range values {
		p.answer(uintptr(v), unix.SECCOMP_RET_ALLOW)
	}
	p.ret(deny)
}

func (p *program) argHasNone(arg int, bits uint32) {
	p.loadArg(arg)
	p.add(unix.BPF_JMP|unix.BPF_JSET|unix.BPF_K, 1, 0, bits)
	p.ret(unix.SECCOMP_RET_ALLOW)
	p.ret(deny)
}

func (p *program) argHasAll(arg int, bits uint32) {
	p.loadArg(arg)
	p.add(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, 0, 0, bits)
	p.answer(uintptr(bits), unix.SECCOMP_RET_ALLOW)
	p.ret(deny)
}

// install puts the filter before all threads at once.
func (p program) install() error {
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	r, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(p)
	if e != 0 {
		return fmt.Errorf("filter of %d instructions: %w", len(p), e)
	}
	if r != 0 {
		return fmt.Errorf("thread %d cannot be given the filter", r)
	}
	return nil
}
