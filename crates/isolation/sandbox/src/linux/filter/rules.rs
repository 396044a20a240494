use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

use super::calls;
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
    let target = TargetArch::try_from(std::env::consts::ARCH)?;
    let compile = |rules, otherwise, matched| -> Result<BpfProgram, BackendError> {
        SeccompFilter::new(rules, otherwise, matched, target)?.try_into()
    };
    let allow = SeccompAction::Allow;
    let mut programs = Vec::new();
    if cfg!(target_arch = "x86_64") {
        programs.push(no_other_numbers());
    }
    // Each checks that a call is the processor's own, and kills where it is not.
    programs.push(compile(killed()?, allow.clone(), SeccompAction::KillProcess)?);
    programs.push(compile(absent(), allow.clone(), SeccompAction::Errno(libc::ENOSYS as u32))?);
    programs.push(compile(let_through(profile, process)?, SeccompAction::Errno(libc::EPERM as u32), allow)?);
    Ok(programs)
}

/// Kills whoever calls by the numbers of x32, which look like those of x86_64 to the check of the processor.
fn no_other_numbers() -> BpfProgram {
    const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const X32: u32 = 0x4000_0000;
    let line = |code, jt, k| sock_filter { code, jt, jf: 0, k };
    vec![
        line(LOAD_NUMBER, 0, 0),
        line(IF_AT_LEAST, 1, X32),
        line(RETURN, 0, libc::SECCOMP_RET_ALLOW),
        line(RETURN, 0, libc::SECCOMP_RET_KILL_PROCESS),
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
fn absent() -> Rules {
    Rules::from([(libc::SYS_clone3, Vec::new())])
}

fn let_through(profile: SealProfile, process: u32) -> Result<Rules, BackendError> {
    let mut rules: Rules = calls::PLAIN.iter().map(|call| (*call, Vec::new())).collect();
    if profile == SealProfile::Interpreter {
        rules.extend(calls::INTERPRETER.iter().map(|call| (*call, Vec::new())));
    }
    // Decided by the programs before this one.
    rules.extend(calls::PROCESS.iter().chain(&[libc::SYS_clone3]).map(|call| (*call, Vec::new())));
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
        let mut all = [calls::PLAIN, calls::INTERPRETER, calls::PROCESS].concat();
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
