//! What this executable does when it is started by itself: seal itself, become an interpreter where it is one, and try to get out.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use sandbox::{Demand, Level, Seal, SealError, SealProfile};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::place::Place;
use crate::{attempts, harmless, python};

/// An attempt that was refused; what the kernel answered is on its standard output.
pub(crate) const REFUSED: u8 = 7;

/// `SEAL WHAT PLACE...`; see [`crate::place::House::run`].
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let [seal, what, rest @ ..] = arguments else { panic!("{arguments:?}") };
    let place = Place::read(rest);
    match seal.as_str() {
        "unsealed" | "sealed" => {}
        "unsealed Python" => python::execute(false, what, &place),
        "sealed Python" => python::execute(true, what, &place),
        "native" => {
            sealed(SealProfile::Native, Demand::Required, &place).unwrap();
        }
        "interpreter" => {
            sealed(SealProfile::Interpreter, Demand::Required, &place).unwrap();
            let error = again("sealed", what, rest).exec();
            panic!("no interpreter was executed: {error}");
        }
        other => panic!("{other}"),
    }
    act(what, &place)
}

/// The command that starts this executable once more in another role.
fn again(seal: &str, what: &str, rest: &[String]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["inside", seal, what]).args(rest);
    command
}

/// The seal of a trainer: it reads one data set and writes to one folder. The runtime of the executable itself is its C library.
fn sealed(profile: SealProfile, demand: Demand, place: &Place) -> Result<Level, SealError> {
    let libraries = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"].map(PathBuf::from);
    let runtime = match profile {
        SealProfile::Native => Vec::new(),
        SealProfile::Interpreter => {
            let there = libraries.into_iter().filter(|path| path.exists());
            there.chain([std::env::current_exe().unwrap()]).collect()
        }
    };
    let seal = Seal {
        profile,
        read: vec![place.data()],
        runtime,
        write: vec![place.task()],
        memory_bytes: Some(1 << 30),
    };
    seal.apply(demand)
}

fn act(what: &str, place: &Place) -> ExitCode {
    if let Some(attempt) = attempts::all().find(|attempt| attempt.name == what) {
        return match (attempt.escape)(place) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                print!("{}", answer(&error));
                ExitCode::from(REFUSED)
            }
        };
    }
    match what {
        "work" => harmless::work(place),
        "wait" => {
            print!("sealed");
            io::stdout().flush().unwrap();
            assert_eq!(io::stdin().read(&mut [0]).unwrap(), 0);
        }
        "level" => print!("{}", serde_json::to_string(&native(Demand::Required, place).unwrap()).unwrap()),
        "required" => said(native(Demand::Required, place)),
        "required without Landlock" => without(libc::SYS_landlock_create_ruleset, Demand::Required, place),
        "required without filters" => without(libc::SYS_seccomp, Demand::Required, place),
        "required without namespaces" => without(libc::SYS_unshare, Demand::Required, place),
        "best_effort without Landlock" => {
            without(libc::SYS_landlock_create_ruleset, Demand::BestEffort, place)
        }
        "best_effort without filters" => without(libc::SYS_seccomp, Demand::BestEffort, place),
        "required without data" => {
            std::fs::rename(place.data(), place.base.join("elsewhere")).unwrap();
            said(native(Demand::Required, place));
        }
        other => panic!("{other}"),
    }
    ExitCode::SUCCESS
}

fn native(demand: Demand, place: &Place) -> Result<Level, SealError> {
    sealed(SealProfile::Native, demand, place)
}

/// A kernel that does not have a system call, as far as this process can see; says what the seal comes to there.
fn without(call: i64, demand: Demand, place: &Place) {
    let rules = [(call, Vec::new())].into_iter().collect();
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    let target = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, absent, target).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    apply_filter(&program).unwrap();
    said(native(demand, place));
}

fn said(result: Result<Level, SealError>) {
    match result {
        Ok(level) => print!("{level}"),
        Err(refused) => print!("refused: {refused}"),
    }
}

/// An answer's name, as the manual has it.
fn answer(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{:?}", nix::errno::Errno::from_raw(number)),
        None if error.kind() == io::ErrorKind::OutOfMemory => "ENOMEM".to_owned(),
        None => "no answer".to_owned(),
    }
}
