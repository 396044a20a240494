use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSliceMut, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use nix::sys::ptrace;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use rustix::mount::{FsOpenFlags, fsopen, mount_bind, unmount};
use rustix::process::{
    DumpableBehavior, PidfdFlags, PidfdGetfdFlags, Resource, Rlimit, Signal, chroot, getrlimit, kill_process,
    kill_process_group, nice, pidfd_getfd, pidfd_open, prlimit, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit, setsid,
};
use rustix::thread::{sched_getaffinity, sched_setaffinity};

use super::{Attempt, attempt};
use crate::place::{Place, SECRET};

pub(super) const ALL: &[Attempt] = &[
    attempt("use an inherited descriptor", |place| Ok(nix::unistd::close(place.leaked)?)),
    attempt("trace the parent", |place| Ok(ptrace::seize(raw(place), ptrace::Options::empty())?)),
    attempt("read the parent's memory", |place| {
        let mut read = [0; SECRET.len()];
        let there = RemoteIoVec { base: place.secret, len: SECRET.len() };
        process_vm_readv(raw(place), &mut [IoSliceMut::new(&mut read)], &[there])?;
        assert_eq!(read, SECRET);
        Ok(())
    }),
    attempt("signal the parent", |place| Ok(kill_process(place.parent, Signal::CONT)?)),
    attempt("signal its process group", |_| {
        Ok(kill_process_group(rustix::process::getpgrp(), Signal::CONT)?)
    }),
    attempt("hold the parent by a descriptor", |place| {
        pidfd_open(place.parent, PidfdFlags::empty())?;
        Ok(())
    }),
    attempt("take a descriptor from the parent", |place| {
        let parent = pidfd_open(place.parent, PidfdFlags::empty())?;
        pidfd_getfd(parent, place.leaked, PidfdGetfdFlags::empty())?;
        Ok(())
    }),
    attempt("execute a shell", |_| Err(Command::new("/bin/sh").args(["-c", "exit 0"]).exec())),
    attempt("execute a file of its own making", |place| {
        let path = place.task().join("program");
        let mut program = OpenOptions::new().write(true).create_new(true).mode(0o755).open(&path)?;
        program.write_all(&smallest_program())?;
        drop(program);
        Err(Command::new(path).exec())
    }),
    attempt("execute a file in memory", |_| {
        let mut program = File::from(rustix::fs::memfd_create("program", rustix::fs::MemfdFlags::empty())?);
        program.write_all(&fs::read("/bin/true")?)?;
        Err(Command::new(format!("/proc/self/fd/{}", program.as_raw_fd())).exec())
    }),
    attempt("start a process", |_| Command::new("/bin/true").status().map(drop)),
    attempt("fork into the background", |_| Ok(nix::unistd::daemon(true, true)?)),
    attempt("start processes without end", |_| {
        let all: io::Result<Vec<_>> = (0..32).map(|_| Command::new("/bin/true").spawn()).collect();
        all?.iter_mut().try_for_each(|child| child.wait().map(drop))
    }),
    attempt("take memory without end", |_| {
        Vec::<u8>::new().try_reserve_exact(2 << 30).map_err(|_| io::ErrorKind::OutOfMemory.into())
    }),
    attempt("raise its own limits", |_| {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
    }),
    attempt("change the parent's limits", |place| {
        let limit = getrlimit(Resource::Core);
        prlimit(Some(place.parent), Resource::Core, limit)?;
        Ok(())
    }),
    attempt("dump its memory into a file", |_| {
        let Rlimit { maximum, .. } = getrlimit(Resource::Core);
        // The dump is the escape; that its limit cannot be raised is one of the ways in which it is stopped.
        let _ = setrlimit(Resource::Core, Rlimit { current: maximum, maximum });
        std::process::abort()
    }),
    attempt("be readable by others again", |_| Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?)),
    attempt("survive its parent", |_| Ok(set_parent_process_death_signal(None)?)),
    attempt("leave its session", |_| {
        setsid()?;
        Ok(())
    }),
    attempt("change its own user", |_| Ok(nix::unistd::setuid(nix::unistd::getuid())?)),
    attempt("change its own priority", |_| {
        nice(1)?;
        Ok(())
    }),
    attempt("move the parent to another processor", |place| {
        Ok(sched_setaffinity(Some(place.parent), &sched_getaffinity(Some(place.parent))?)?)
    }),
    attempt("make a user namespace", |_| Ok(unshare(CloneFlags::CLONE_NEWUSER)?)),
    attempt("enter the parent's network namespace", |place| {
        let namespace = File::open(place.of_parent("ns/net"))?;
        Ok(nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET)?)
    }),
    attempt("mount a folder on another", |place| {
        mount_bind(place.base.join("keys"), place.task())?;
        Ok(unmount(place.task(), rustix::mount::UnmountFlags::DETACH)?)
    }),
    attempt("open a file system", |_| {
        fsopen("tmpfs", FsOpenFlags::empty())?;
        Ok(())
    }),
    attempt("change the root", |place| Ok(chroot(place.task())?)),
    attempt("rename the machine", |_| {
        Ok(rustix::system::sethostname(rustix::system::uname().nodename().to_bytes())?)
    }),
];

/// An executable that needs no loader, no library and no interpreter, and ends with 0.
fn smallest_program() -> Vec<u8> {
    let (machine, code): (u16, &[u8]) = if cfg!(target_arch = "x86_64") {
        // xor edi, edi; mov eax, 60; syscall
        (62, b"\x31\xff\xb8\x3c\x00\x00\x00\x0f\x05")
    } else {
        // mov x0, 0; mov x8, 93; svc 0
        (183, b"\x00\x00\x80\xd2\xa8\x0b\x80\xd2\x01\x00\x00\xd4")
    };
    let (base, headers) = (0x40_0000_u64, 64 + 56_u64);
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let halves = |bytes: &mut Vec<u8>, all: &[u16]| all.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
    let words = |bytes: &mut Vec<u8>, all: &[u32]| all.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
    let longs = |bytes: &mut Vec<u8>, all: &[u64]| all.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
    // The file's header: executable, its entry, one program header after it.
    halves(&mut bytes, &[2, machine]);
    words(&mut bytes, &[1]);
    longs(&mut bytes, &[base + headers, 64, 0]);
    words(&mut bytes, &[0]);
    halves(&mut bytes, &[64, 56, 1, 0, 0, 0]);
    // The program's: all of the file, to read and to execute.
    let size = headers + code.len() as u64;
    words(&mut bytes, &[1, 5]);
    longs(&mut bytes, &[0, base, base, size, size, 0x1000]);
    bytes.extend_from_slice(code);
    bytes
}

fn raw(place: &Place) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(place.parent.as_raw_nonzero().get())
}
