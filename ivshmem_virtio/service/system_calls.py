# SPDX-License-Identifier: MIT
"""The system calls of a back-end. What is not listed fails with EPERM: programs, processes, mounts, tracing."""

from __future__ import annotations

import errno
import os
import stat

import pyseccomp

_MEMORY = "brk madvise membarrier mmap mprotect mremap munmap"
_FILES = (
    "access chdir chmod close close_range dup dup2 dup3 faccessat faccessat2 fadvise64 fallocate fchmod fchmodat fcntl "
    "fdatasync flock fstat fstatfs fsync ftruncate getcwd getdents64 ioctl lseek lstat mkdir mkdirat newfstatat open "
    "openat pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readlink readlinkat readv rename renameat "
    "renameat2 rmdir stat statfs statx symlink symlinkat sync_file_range umask unlink unlinkat utimensat write writev"
)
_SOCKETS = (
    "accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg "
    "sendto setsockopt shutdown socket socketpair"
)
_WAITING = (
    "epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd2 poll ppoll pselect6 select timerfd_create "
    "timerfd_gettime timerfd_settime"
)
_STORAGE = "io_uring_enter"
"""On rings that were made before, and that take nothing but transfers of files that are open; no others come."""
_THREADS = (
    "exit exit_group futex futex_waitv get_robust_list gettid rseq sched_getaffinity sched_getparam sched_getscheduler "
    "sched_setaffinity sched_yield set_robust_list set_tid_address"
)
_SIGNALS = "restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigtimedwait sigaltstack"
_TIME = "clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep setitimer time"
_SELF = (
    "arch_prctl getegid geteuid getgid getgroups getpgrp getpid getppid getrandom getresgid getresuid getrlimit "
    "getrusage getsid getuid prctl prlimit64 sysinfo times uname"
)
NEEDED = " ".join((_MEMORY, _FILES, _STORAGE, _SOCKETS, _WAITING, _THREADS, _SIGNALS, _TIME, _SELF)).split()
"""By name, as the architecture that lacks one has no use for it."""

_UNKNOWN = -1
"""The library's number for a name it does not know: an older one has nothing to allow there."""
_CLONE_THREAD = 0x00010000
_S_IFMT = 0o170000


def allow_only_needed() -> None:
    """Apply the filter to the calling thread and all that come from it; raises OSError."""
    rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
    for name in NEEDED:
        if pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) != _UNKNOWN:
            rules.add_rule(pyseccomp.ALLOW, name)
    to_itself = pyseccomp.Arg(0, pyseccomp.EQ, os.getpid())
    for name in ("kill", "tgkill"):
        rules.add_rule(pyseccomp.ALLOW, name, to_itself)
    for name, mode in (("mknod", 1), ("mknodat", 2)):
        rules.add_rule(pyseccomp.ALLOW, name, pyseccomp.Arg(mode, pyseccomp.MASKED_EQ, _S_IFMT, stat.S_IFIFO))
    # Threads yes, processes no. clone3 hides its flags behind a pointer, so the C library is sent to clone.
    threads = pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD)
    rules.add_rule(pyseccomp.ALLOW, "clone", threads)
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    rules.load()
