//! The lists. What stands here is what the Rust and C libraries, an allocator, a thread pool and an interpreter were seen to need;
//! that an addition gives no way out is for whoever adds it to show, in `tests/escapes`.

/// Let through whatever the arguments are: memory, its own threads and signals, clocks, what it has opened, and what Landlock holds
/// to the listed paths.
pub(super) const PLAIN: &[i64] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mincore,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_munmap,
    // Its threads, and who it is.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getpgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getpriority,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrusage,
    libc::SYS_getsid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_rseq,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sysinfo,
    libc::SYS_umask,
    libc::SYS_uname,
    // Signals.
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    // Time and chance.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_times,
    // What it has open.
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fdatasync,
    libc::SYS_fstat,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getdents64,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_lseek,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pselect6,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_sendfile,
    libc::SYS_shutdown,
    libc::SYS_write,
    libc::SYS_writev,
    // Paths. That something is there, its size and where a link leads to are no secret of Landlock's.
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_readlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_statx,
    libc::SYS_unlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getpgrp,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getrlimit,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_pause,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_pipe,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_select,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
];

/// Let through to an interpreter besides: to become it (Landlock: of the runtime alone), and what it is used to.
pub(super) const INTERPRETER: &[i64] = &[
    libc::SYS_chdir,
    libc::SYS_execve,
    libc::SYS_fchdir,
    libc::SYS_fstatfs,
    libc::SYS_getitimer,
    libc::SYS_setitimer,
    libc::SYS_statfs,
    libc::SYS_wait4,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_alarm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
];

/// What makes a process of whatever arguments.
#[cfg(target_arch = "x86_64")]
pub(super) const PROCESS: &[i64] = &[libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const PROCESS: &[i64] = &[];

/// What a sealed process is answered that there is not, so that a library does without: threads are made by `clone`, and a file is
/// read without a lock. A lock would keep the writer of the data waiting, and is seen by a trainer of another run.
pub(super) const ABSENT: &[i64] = &[libc::SYS_clone3, libc::SYS_flock];

/// What opens a file, and the place of its flags.
#[cfg(target_arch = "x86_64")]
pub(super) const OPENING: &[(i64, u8)] = &[(libc::SYS_open, 1), (libc::SYS_openat, 2)];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const OPENING: &[(i64, u8)] = &[(libc::SYS_openat, 2)];

/// Copies and flags; neither locks, nor who is signalled when input comes, nor a watch on a folder.
pub(super) const DESCRIPTOR_COMMANDS: &[u64] = &[
    libc::F_DUPFD as u64,
    libc::F_DUPFD_CLOEXEC as u64,
    libc::F_GETFD as u64,
    libc::F_SETFD as u64,
    libc::F_GETFL as u64,
    libc::F_SETFL as u64,
];

/// Whether a stream is a terminal, how much waits in it, whether to wait for more; nothing that puts input into it.
#[allow(clippy::unnecessary_cast)] // With musl these are signed.
pub(super) const DEVICE_COMMANDS: &[u64] = &[
    libc::TCGETS as u64,
    libc::TIOCGWINSZ as u64,
    libc::FIONREAD as u64,
    libc::FIONBIO as u64,
    libc::FIOCLEX as u64,
    libc::FIONCLEX as u64,
];

/// Attributes of the process that it may read, and set where that takes nothing off the seal: names of threads and of memory.
pub(super) const OWN_ATTRIBUTES: &[u64] = &[
    libc::PR_CAPBSET_READ as u64,
    libc::PR_GET_DUMPABLE as u64,
    libc::PR_GET_NAME as u64,
    libc::PR_GET_NO_NEW_PRIVS as u64,
    libc::PR_GET_PDEATHSIG as u64,
    libc::PR_GET_SECCOMP as u64,
    libc::PR_GET_THP_DISABLE as u64,
    libc::PR_SET_NAME as u64,
    libc::PR_SET_VMA as u64,
];

/// Where the options below lie: of sockets in general, not of a protocol.
pub(super) const SOCKET_LEVEL: u64 = libc::SOL_SOCKET as u64;

/// How long to wait for a socket, and how much waits in it.
pub(super) const SOCKET_OPTIONS: &[u64] =
    &[libc::SO_RCVTIMEO as u64, libc::SO_SNDTIMEO as u64, libc::SO_RCVBUF as u64, libc::SO_SNDBUF as u64];
