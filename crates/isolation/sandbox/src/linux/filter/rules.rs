use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

use super::{calls, denied};
use crate::SealProfile;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// What a thread is to the kernel: a copy of the process that shares its memory and its identity.
const THREAD: u64 = libc::CLONE_THREAD as u64;
/// A namespace of its own, of whatever kind.
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u64;

/// The programs of a profile for the process of this number, in the order in which they are installed.
///
/// # Errors
/// The processor is one that the lists were not written for.
pub(super) fn programs(profile: SealProfile, process: u32) -> Result<Vec<BpfProgram>, BackendError> {
    let mut programs = no_other_numbers();
    // Each checks that a call is the processor's own, and kills where it is not.
    programs.push(compile(killed()?, ALLOWED, SeccompAction::KillProcess)?);
    programs.push(compile(absent(calls::ABSENT), ALLOWED, ABSENT)?);
    programs.push(compile(let_through(profile, process)?, REFUSED, ALLOWED)?);
    Ok(programs)
}

/// The programs for the process of this number that keeps the network and is shut out of data: what is refused is a list here, since
/// what it does is not.
///
/// # Errors
/// As [`programs`].
pub(super) fn of_shut_out(process: u32) -> Result<Vec<BpfProgram>, BackendError> {
    let mut programs = no_other_numbers();
    programs.push(from_number(denied::NEWEST as u32 + 1, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32));
    programs.push(compile(absent(&[libc::SYS_clone3]), ALLOWED, ABSENT)?);
    programs.push(compile(refused(process)?, ALLOWED, REFUSED)?);
    Ok(programs)
}

const ALLOWED: SeccompAction = SeccompAction::Allow;
const ABSENT: SeccompAction = SeccompAction::Errno(libc::ENOSYS as u32);
const REFUSED: SeccompAction = SeccompAction::Errno(libc::EPERM as u32);

fn compile(
    rules: Rules,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let target = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, otherwise, matched, target)?.try_into()
}

/// Kills whoever calls by the numbers of x32, which look like those of x86_64 to the check of the processor.
fn no_other_numbers() -> Vec<BpfProgram> {
    const X32: u32 = 0x4000_0000;
    let kill = || from_number(X32, libc::SECCOMP_RET_KILL_PROCESS);
    cfg!(target_arch = "x86_64").then(kill).into_iter().collect()
}

/// This answer to every call from this number on.
fn from_number(first: u32, answer: u32) -> BpfProgram {
    const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let line = |code, jt, k| sock_filter { code, jt, jf: 0, k };
    vec![
        line(LOAD_NUMBER, 0, 0),
        line(IF_AT_LEAST, 1, first),
        line(RETURN, 0, libc::SECCOMP_RET_ALLOW),
        line(RETURN, 0, answer),
    ]
}

/// A second process is nothing that a library tries and does without.
fn killed() -> Result<Rules, BackendError> {
    let mut rules: Rules = calls::PROCESS.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_clone, vec![rule([masked(0, THREAD, 0)?])?]);
    Ok(rules)
}

/// What a C library tries first, and does otherwise where the kernel is older: here, because no filter can look behind the pointer
/// to its flags.
fn absent(calls: &[i64]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

fn let_through(profile: SealProfile, process: u32) -> Result<Rules, BackendError> {
    let mut rules: Rules = calls::PLAIN.iter().map(|call| (*call, Vec::new())).collect();
    if profile == SealProfile::Interpreter {
        rules.extend(calls::INTERPRETER.iter().map(|call| (*call, Vec::new())));
    }
    // Decided by the programs before this one.
    rules.extend(calls::PROCESS.iter().chain(calls::ABSENT).map(|call| (*call, Vec::new())));
    rules.insert(libc::SYS_clone, vec![rule([masked(0, THREAD | NAMESPACES, THREAD)?])?]);
    // Of all processes, it may signal itself.
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        rules.insert(call, vec![rule([is(0, u64::from(process))?])?]);
    }
    // Its own limits may be read. (The pointer to new ones is null, and the process 0 is the caller.)
    rules.insert(libc::SYS_prlimit64, vec![rule([is(0, 0)?, null(2)?])?]);
    // On the sockets that it has; to nobody else than whom they are connected with.
    rules.insert(libc::SYS_sendto, vec![rule([null(4)?])?]);
    let options =
        calls::SOCKET_OPTIONS.iter().map(|option| rule([is(1, calls::SOCKET_LEVEL)?, is(2, *option)?]));
    rules.insert(libc::SYS_setsockopt, options.collect::<Result<_, _>>()?);
    rules.insert(libc::SYS_fcntl, one_of(1, calls::DESCRIPTOR_COMMANDS)?);
    rules.insert(libc::SYS_ioctl, one_of(1, calls::DEVICE_COMMANDS)?);
    let mut own = one_of(0, calls::OWN_ATTRIBUTES)?;
    own.push(rule([is(0, libc::PR_SET_DUMPABLE as u64)?, null(1)?])?);
    rules.insert(libc::SYS_prctl, own);
    for (call, flags) in calls::OPENING {
        rules.insert(*call, opening(*flags)?);
    }
    Ok(rules)
}

/// What a process that is shut out is refused: calls that it has no use for, and of those that it has the arguments that lead out.
fn refused(process: u32) -> Result<Rules, BackendError> {
    let mut rules: Rules =
        denied::DENIED.iter().chain(calls::PROCESS).map(|call| (*call, Vec::new())).collect();
    // Threads alone, and no namespace with them.
    let mut processes = vec![rule([masked(0, THREAD, 0)?])?];
    for bit in (0..u64::BITS).map(|bit| 1 << bit).filter(|bit| NAMESPACES & bit != 0) {
        processes.push(rule([masked(0, bit, bit)?])?);
    }
    rules.insert(libc::SYS_clone, processes);
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        rules.insert(call, vec![rule([is_not(0, u64::from(process))?])?]);
    }
    rules.insert(libc::SYS_prlimit64, vec![rule([is_not(0, 0)?])?]);
    // A socket of this machine is how its services are asked (a bus, a container engine), which open files for whoever asks.
    let [first, second] = denied::FAMILIES;
    rules.insert(libc::SYS_socket, vec![rule([is_not(0, first)?, is_not(0, second)?])?]);
    rules.insert(libc::SYS_socketpair, pairs()?);
    rules.insert(libc::SYS_ioctl, one_of(1, denied::TERMINAL_COMMANDS)?);
    rules.insert(libc::SYS_fcntl, one_of(1, denied::SIGNALLED_COMMANDS)?);
    Ok(rules)
}

/// All socket pairs but streams: those stay what they are, while a pair of datagram sockets sends to whomever it names.
fn pairs() -> Result<Vec<SeccompRule>, BackendError> {
    let mut refused = vec![rule([is_not(0, libc::AF_UNIX as u64)?])?];
    // Of the four bits of a kind, a stream has the lowest alone.
    for bit in [2, 4, 8] {
        refused.push(rule([masked(1, bit, bit)?])?);
    }
    Ok(refused)
}

/// Emptying a file asks for it to be opened for writing: an old Landlock looks at nothing else.
fn opening(flags: u8) -> Result<Vec<SeccompRule>, BackendError> {
    let mode = (libc::O_WRONLY | libc::O_RDWR) as u64;
    Ok(vec![
        rule([masked(flags, libc::O_TRUNC as u64, 0)?])?,
        rule([masked(flags, mode, libc::O_WRONLY as u64)?])?,
        rule([masked(flags, mode, libc::O_RDWR as u64)?])?,
    ])
}

fn one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    values.iter().map(|value| rule([is(argument, *value)?])).collect()
}

fn rule<const N: usize>(conditions: [SeccompCondition; N]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into())
}

fn is(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

fn is_not(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)
}

/// A pointer, or a number of the machine's width.
fn null(argument: u8) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_is_let_through_more_than_a_native_program_and_nothing_less() {
        let [native, interpreter] =
            [SealProfile::Native, SealProfile::Interpreter].map(|profile| let_through(profile, 7).unwrap());
        assert!(native.iter().all(|(call, rules)| interpreter.get(call) == Some(rules)));
        let more: Vec<i64> = interpreter.into_keys().filter(|call| !native.contains_key(call)).collect();
        let mut listed = calls::INTERPRETER.to_vec();
        listed.sort_unstable();
        assert_eq!(more, listed);
    }

    #[test]
    fn no_call_is_listed_twice() {
        for lists in
            [[calls::PLAIN, calls::INTERPRETER, calls::PROCESS], [denied::DENIED, calls::PROCESS, &[]]]
        {
            let mut all = lists.concat();
            all.sort_unstable();
            assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
        }
    }

    /// What a program answers to a call of this processor's: the kernel's own machine, as far as these programs use it.
    fn answer(program: &BpfProgram, call: i64, arguments: [u64; 3]) -> u32 {
        const OF_CLASS: u16 = 0x07;
        let machine = if cfg!(target_arch = "x86_64") { 0xc000_003e_u64 } else { 0xc000_00b7 };
        // The number, the processor, where it was called from, and the arguments.
        let words = [call as u64 | machine << 32, 0, arguments[0], arguments[1], arguments[2], 0, 0, 0];
        let loaded = |at: u32| (words[at as usize / 8] >> (at % 8 * 8)) as u32;
        let (mut at, mut held) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let jump = |taken: bool| usize::from(if taken { jt } else { jf });
            match (u32::from(code & OF_CLASS), u32::from(code & !OF_CLASS)) {
                (libc::BPF_LD, _) => held = loaded(k),
                (libc::BPF_ALU, libc::BPF_AND) => held &= k,
                (libc::BPF_JMP, libc::BPF_JA) => at += k as usize,
                (libc::BPF_JMP, libc::BPF_JEQ) => at += jump(held == k),
                (libc::BPF_JMP, libc::BPF_JGT) => at += jump(held > k),
                (libc::BPF_JMP, libc::BPF_JGE) => at += jump(held >= k),
                (libc::BPF_RET, _) => return k,
                other => panic!("{other:?} is in no program"),
            }
        }
    }

    #[test]
    fn a_process_that_is_shut_out_is_refused_what_leads_out_and_does_its_work() {
        let programs = of_shut_out(7).unwrap();
        // The sternest of all, which the kernel compares as signed numbers.
        let sternness = |said: &u32| (said & libc::SECCOMP_RET_ACTION_FULL).cast_signed();
        let answered = |call: i64, arguments| {
            programs.iter().map(|program| answer(program, call, arguments)).min_by_key(sternness).unwrap()
        };
        let error = |number: i32| libc::SECCOMP_RET_ERRNO | number as u32;
        for call in denied::DENIED.iter().chain(calls::PROCESS) {
            assert_eq!(answered(*call, [0; 3]), error(libc::EPERM), "call {call}");
        }
        assert_eq!(answered(libc::SYS_clone3, [0; 3]), error(libc::ENOSYS));
        assert_eq!(answered(denied::NEWEST + 1, [0; 3]), error(libc::ENOSYS));
        let [unix, network] = [libc::AF_UNIX as u64, libc::AF_INET6 as u64];
        let stream = (libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as u64;
        let other = |kind: i32| (kind | libc::SOCK_CLOEXEC) as u64;
        let push = denied::TERMINAL_COMMANDS[0];
        let threads = libc::CLONE_THREAD as u64 | libc::CLONE_VM as u64;
        let refused = [
            (libc::SYS_socket, [unix, stream, 0]),
            (libc::SYS_socket, [libc::AF_NETLINK as u64, 0, 0]),
            (libc::SYS_socket, [libc::AF_VSOCK as u64, stream, 0]),
            (libc::SYS_socketpair, [unix, other(libc::SOCK_DGRAM), 0]),
            (libc::SYS_socketpair, [unix, other(libc::SOCK_SEQPACKET), 0]),
            (libc::SYS_socketpair, [libc::AF_TIPC as u64, stream, 0]),
            (libc::SYS_ioctl, [0, push, 0]),
            (libc::SYS_ioctl, [0, push | 1 << 32, 0]),
            (libc::SYS_fcntl, [0, libc::F_SETOWN as u64, 0]),
            (libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0]),
            (libc::SYS_clone, [threads | libc::CLONE_NEWUSER as u64, 0, 0]),
            (libc::SYS_kill, [8, 9, 0]),
            (libc::SYS_kill, [u64::from(u32::MAX), 9, 0]),
            (libc::SYS_prlimit64, [8, 0, 0]),
        ];
        for (call, arguments) in refused {
            assert_eq!(answered(call, arguments), error(libc::EPERM), "call {call} {arguments:?}");
        }
        let work = [
            (libc::SYS_socket, [network, stream, 0]),
            (libc::SYS_socket, [libc::AF_INET as u64, other(libc::SOCK_DGRAM), 0]),
            (libc::SYS_socketpair, [unix, stream, 0]),
            (libc::SYS_connect, [3, 0, 0]),
            (libc::SYS_sendmsg, [3, 0, 0]),
            (libc::SYS_ioctl, [0, calls::DEVICE_COMMANDS[0], 0]),
            (libc::SYS_fcntl, [0, libc::F_SETLKW as u64, 0]),
            (libc::SYS_clone, [threads, 0, 0]),
            (libc::SYS_tgkill, [7, 7, 6]),
            (libc::SYS_prlimit64, [0, 7, 0]),
            (libc::SYS_epoll_create1, [0; 3]),
            (libc::SYS_fsync, [3, 0, 0]),
            (libc::SYS_renameat2, [0; 3]),
            (libc::SYS_statx, [0; 3]),
        ];
        for (call, arguments) in work {
            assert_eq!(answered(call, arguments), libc::SECCOMP_RET_ALLOW, "call {call} {arguments:?}");
        }
    }
}
