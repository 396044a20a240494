//! What a process that keeps the network gives up: all by which it would leave what Landlock holds it to, or reach others on its
//! machine past it, and none of which resolving names, connecting, and writing its own files needs.

/// Refused whatever the arguments are.
pub(super) const DENIED: &[i64] = &[
    // Other processes: their memory, their descriptors, their signals.
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_tkill,
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Namespaces, mounts and roots.
    libc::SYS_chroot,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_setns,
    libc::SYS_umount2,
    libc::SYS_unshare,
    // Files past their paths.
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_inotify_add_watch,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    // What processes share by a name or a number.
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_msgctl,
    libc::SYS_msgget,
    libc::SYS_msgrcv,
    libc::SYS_msgsnd,
    libc::SYS_semctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_shmget,
    // Calls that no filter sees, and code in the kernel.
    libc::SYS_bpf,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_userfaultfd,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    #[cfg(not(all(target_arch = "aarch64", target_env = "musl")))]
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    // Keys that the kernel keeps, and the machine itself.
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_personality,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_settimeofday,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
];

/// The newest call that this list was read against. Later ones are answered as by a kernel that does not have them.
pub(super) const NEWEST: i64 = libc::SYS_mseal;

/// Puts words into the terminal that it was started from, which a shell then takes for its operator's.
#[allow(clippy::unnecessary_cast)] // With musl these are signed.
pub(super) const TERMINAL_COMMANDS: &[u64] = &[libc::TIOCSTI as u64, libc::TIOCLINUX as u64];

/// Has the kernel signal another process when input comes.
pub(super) const SIGNALLED_COMMANDS: &[u64] = &[libc::F_SETOWN as u64, F_SETOWN_EX];
const F_SETOWN_EX: u64 = 15;

/// Families of sockets that are left to it: the network's.
pub(super) const FAMILIES: [u64; 2] = [libc::AF_INET as u64, libc::AF_INET6 as u64];
