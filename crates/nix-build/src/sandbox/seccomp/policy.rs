//! Which system calls builders may make, by name.
//!
//! A call that isn't named here doesn't exist for builders: it fails with `ENOSYS`, so that the C
//! library falls back to older ones. Names that only some architectures have are passed over on
//! the others.
//!
//! A filter sees numbers, no memory and no namespaces. Mounting and tracing stay allowed: the
//! namespaces and the missing capabilities confine them, and test suites use them. What hides
//! behind a pointer (`openat2`, `clone3`) is dealt with when outputs are processed.

/// What happens to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// The kernel decides.
    Allow,
    /// It fails with this error number.
    Fail(u16),
    /// It fails with `EPERM` if its argument of this number is a file mode with the set-user-ID
    /// or set-group-ID bit; else the kernel decides.
    PlainMode {
        /// Which argument.
        mode: u8,
    },
    /// The same for a call that takes a mode only if it can make a file, which its flags say.
    PlainModeIfCreating {
        /// Which argument has the flags of `open`.
        flags: u8,
        /// Which argument has the mode.
        mode: u8,
    },
}

impl Rule {
    /// What this architecture's call of this name gets.
    pub(super) fn of(name: &str) -> Self {
        if ALLOWED.iter().any(|list| list.contains(&name)) {
            return Self::Allow;
        }
        OTHERS
            .iter()
            .find(|(_, names)| names.contains(&name))
            .map_or(UNKNOWN, |(rule, _)| *rule)
    }
}

/// For calls that aren't named.
pub(super) const UNKNOWN: Rule = Rule::Fail(errno(libc::ENOSYS));

const NO_PERMISSION: Rule = Rule::Fail(errno(libc::EPERM));
const NOT_SUPPORTED: Rule = Rule::Fail(errno(libc::ENOTSUP));

/// The bits that a builder's files must not have.
pub(super) const FORBIDDEN_MODE: u32 = libc::S_ISUID | libc::S_ISGID;

/// Flags of `open` with which it takes a mode: `O_CREAT`, and the bit of `O_TMPFILE` that isn't
/// `O_DIRECTORY`. They are the same on all architectures that there are filters for.
pub(super) const CREATING: u32 = 0o100 | 0o20_000_000;

#[rustfmt::skip]
pub(super) const OTHERS: &[(Rule, &[&str])] = &[
    (Rule::PlainMode { mode: 1 }, &["chmod", "fchmod", "creat", "mknod"]),
    (Rule::PlainMode { mode: 2 }, &["fchmodat", "fchmodat2", "mknodat"]),
    (Rule::PlainModeIfCreating { flags: 1, mode: 2 }, &["open"]),
    (Rule::PlainModeIfCreating { flags: 2, mode: 3 }, &["openat"]),
    // Nix compat: outputs have no extended attributes, and builders see none, whatever the file
    // system of the store has.
    (NOT_SUPPORTED, &[
        "setxattr", "lsetxattr", "fsetxattr", "setxattrat", "getxattr", "lgetxattr", "fgetxattr",
        "getxattrat", "listxattr", "llistxattr", "flistxattr", "listxattrat", "removexattr",
        "lremovexattr", "fremovexattr", "removexattrat",
    ]),
    // What programs without privileges get for them anyway.
    (NO_PERMISSION, &[
        "acct", "bpf", "clock_settime", "clock_settime64", "delete_module", "finit_module",
        "init_module", "ioperm", "iopl", "kexec_file_load", "kexec_load", "open_by_handle_at",
        "perf_event_open", "quotactl", "quotactl_fd", "reboot", "settimeofday", "stime", "swapoff",
        "swapon", "syslog", "userfaultfd", "vhangup",
    ]),
    // As in a kernel that is built without them: programs have another way.
    (UNKNOWN, &[
        "add_key", "io_uring_enter", "io_uring_register", "io_uring_setup", "keyctl",
        "request_key",
    ]),
];

pub(super) const ALLOWED: &[&[&str]] = &[
    FILES,
    PROCESSES,
    MEMORY,
    TIME,
    MESSAGES,
    NETWORK,
    CONFINEMENT,
];

#[rustfmt::skip]
const FILES: &[&str] = &[
    "_llseek", "_newselect", "access", "arm_fadvise64_64", "arm_sync_file_range", "cachestat",
    "chdir", "chown", "chown32", "close", "close_range", "copy_file_range", "dup", "dup2", "dup3",
    "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2",
    "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "faccessat", "faccessat2", "fadvise64",
    "fadvise64_64", "fallocate", "fanotify_init", "fanotify_mark", "fchdir", "fchown", "fchown32",
    "fchownat", "fcntl", "fcntl64", "fdatasync", "flock", "fstat", "fstat64", "fstatat",
    "fstatat64", "fstatfs", "fstatfs64", "fsync", "ftruncate", "ftruncate64", "futimesat",
    "getcwd", "getdents", "getdents64", "inotify_add_watch", "inotify_init", "inotify_init1",
    "inotify_rm_watch", "io_cancel", "io_destroy", "io_getevents", "io_pgetevents",
    "io_pgetevents_time64", "io_setup", "io_submit", "ioctl", "lchown", "lchown32", "link",
    "linkat", "lseek", "lstat", "lstat64", "mkdir", "mkdirat", "name_to_handle_at", "newfstatat",
    "oldfstat", "oldlstat", "oldstat", "openat2", "pipe", "pipe2", "poll", "ppoll",
    "ppoll_time64", "pread64", "preadv", "preadv2", "pselect6", "pselect6_time64", "pwrite64",
    "pwritev", "pwritev2", "read", "readahead", "readdir", "readlink", "readlinkat", "readv",
    "rename", "renameat", "renameat2", "rmdir", "select", "sendfile", "sendfile64", "splice",
    "stat", "stat64", "statfs", "statfs64", "statx", "symlink", "symlinkat", "sync",
    "sync_file_range", "syncfs", "sysfs", "tee", "truncate", "truncate64", "umask", "unlink",
    "unlinkat", "ustat", "utime", "utimensat", "utimensat_time64", "utimes", "vmsplice", "write",
    "writev",
];

#[rustfmt::skip]
const PROCESSES: &[&str] = &[
    "arch_prctl", "capget", "capset", "clone", "clone3", "execve", "execveat", "exit",
    "exit_group", "fork", "futex", "futex_requeue", "futex_time64", "futex_wait", "futex_waitv",
    "futex_wake", "get_robust_list", "get_thread_area", "getcpu", "getegid", "getegid32",
    "geteuid", "geteuid32", "getgid", "getgid32", "getgroups", "getgroups32", "getpgid",
    "getpgrp", "getpid", "getppid", "getpriority", "getresgid", "getresgid32", "getresuid",
    "getresuid32", "getrlimit", "getrusage", "getsid", "gettid", "getuid", "getuid32",
    "ioprio_get", "ioprio_set", "kcmp", "kill", "membarrier", "modify_ldt", "nice", "olduname",
    "oldolduname", "pause", "personality", "pidfd_getfd", "pidfd_open", "pidfd_send_signal",
    "prctl", "prlimit64", "process_madvise", "process_mrelease", "process_vm_readv",
    "process_vm_writev", "ptrace", "restart_syscall", "rseq", "rt_sigaction", "rt_sigpending",
    "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait",
    "rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "sched_get_priority_max",
    "sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam",
    "sched_getscheduler", "sched_rr_get_interval", "sched_rr_get_interval_time64",
    "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield",
    "set_robust_list", "set_thread_area", "set_tid_address", "setfsgid", "setfsgid32", "setfsuid",
    "setfsuid32", "setgid", "setgid32", "setgroups", "setgroups32", "setpgid", "setpriority",
    "setregid", "setregid32", "setresgid", "setresgid32", "setresuid", "setresuid32", "setreuid",
    "setreuid32", "setrlimit", "setsid", "setuid", "setuid32", "sgetmask", "sigaction",
    "sigaltstack", "signal", "signalfd", "signalfd4", "sigpending", "sigprocmask", "sigreturn",
    "sigsuspend", "ssetmask", "sysinfo", "tgkill", "times", "tkill", "ugetrlimit", "uname",
    "uprobe", "uretprobe", "vfork", "wait4", "waitid", "waitpid",
];

#[rustfmt::skip]
const MEMORY: &[&str] = &[
    "brk", "get_mempolicy", "madvise", "map_shadow_stack", "mbind", "memfd_create",
    "memfd_secret", "migrate_pages", "mincore", "mlock", "mlock2", "mlockall", "mmap", "mmap2",
    "move_pages", "mprotect", "mremap", "mseal", "msync", "munlock", "munlockall", "munmap",
    "pkey_alloc", "pkey_free", "pkey_mprotect", "remap_file_pages", "set_mempolicy",
    "set_mempolicy_home_node",
];

#[rustfmt::skip]
const TIME: &[&str] = &[
    // Reading is for everybody; setting needs a capability that builders don't have.
    "adjtimex", "clock_adjtime", "clock_adjtime64", "alarm", "clock_getres",
    "clock_getres_time64", "clock_gettime", "clock_gettime64", "clock_nanosleep",
    "clock_nanosleep_time64", "getitimer", "getrandom", "gettimeofday", "nanosleep", "setitimer",
    "time", "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime",
    "timer_gettime64", "timer_settime", "timer_settime64", "timerfd_create", "timerfd_gettime",
    "timerfd_gettime64", "timerfd_settime", "timerfd_settime64",
];

#[rustfmt::skip]
const MESSAGES: &[&str] = &[
    "ipc", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedreceive_time64",
    "mq_timedsend", "mq_timedsend_time64", "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd",
    "semctl", "semget", "semop", "semtimedop", "semtimedop_time64", "shmat", "shmctl", "shmdt",
    "shmget",
];

#[rustfmt::skip]
const NETWORK: &[&str] = &[
    "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen",
    "recv", "recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg", "send", "sendmmsg", "sendmsg",
    "sendto", "setsockopt", "shutdown", "socket", "socketcall", "socketpair",
];

/// Sandboxes inside of the sandbox.
#[rustfmt::skip]
const CONFINEMENT: &[&str] = &[
    "chroot", "fsconfig", "fsmount", "fsopen", "fspick", "landlock_add_rule",
    "landlock_create_ruleset", "landlock_restrict_self", "listmount", "lsm_get_self_attr",
    "lsm_list_modules", "mount", "mount_setattr", "move_mount", "open_tree", "open_tree_attr",
    "pivot_root", "seccomp", "setdomainname", "sethostname", "setns", "statmount", "umount",
    "umount2", "unshare",
];

const fn errno(number: i32) -> u16 {
    // The numbers that are used here are small and positive.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let number = number as u16;
    number
}
