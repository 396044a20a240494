//! The second profile with the interpreter that it is for, where this machine has one.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::Command;

use sandbox::{Demand, Seal, SealProfile};

use crate::outside::MANUAL;
use crate::place::{House, Place};

const RARE_CALLS: &str = include_str!("rare_calls.py");

/// Where an interpreter and all that it reads lie, one path a line: the executable first.
const WHERE: &str = "
import os, sys, sysconfig
paths = [os.path.realpath(sys.executable), *map(sysconfig.get_path, ('stdlib', 'platstdlib')), sysconfig.get_config_var('LIBDIR')]
system = ['/lib', '/lib64', '/usr/lib', '/usr/lib64', '/etc/ld.so.cache']
print('\\n'.join(path for path in [*paths, *system] if path and os.path.exists(path)))
";

/// Executes Python with the calls of `what`, in a runtime that is listed one path a line.
pub(crate) fn execute(sealed: bool, what: &str, place: &Place) -> ! {
    let runtime: Vec<PathBuf> = std::env::var("RUNTIME").unwrap().lines().map(PathBuf::from).collect();
    let mut command = Command::new(&runtime[0]);
    command.args(["-I", "-S", "-B", "-c", RARE_CALLS, what]).arg(&place.base);
    if sealed {
        let seal = Seal {
            profile: SealProfile::Interpreter,
            read: vec![place.data()],
            runtime,
            write: vec![place.task()],
            memory_bytes: Some(1 << 30),
        };
        seal.apply(Demand::Required).unwrap();
    }
    panic!("no Python was executed: {}", command.exec())
}

/// The paths of an interpreter, where there is one.
fn runtime() -> Option<String> {
    let found = Command::new("python3").args(["-I", "-c", WHERE]).output().ok()?;
    found.status.success().then(|| String::from_utf8(found.stdout).unwrap())
}

/// The calls that the manual names, as refused in silence.
fn promised() -> BTreeSet<String> {
    let from = MANUAL.find("by their numbers: ").unwrap();
    let paragraph = MANUAL[from..].split("\n\n").next().unwrap();
    // A name of two words may stand on two lines.
    let names = paragraph.split('`').skip(1).step_by(2);
    names.map(|name| name.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

pub(crate) fn no_rare_call_works() {
    let Some(runtime) = runtime() else {
        println!("no Python on this machine: its rarer system calls were not tried");
        return;
    };
    no_rare_call_works_in(&runtime);
    for fatal in ["clone", "fork", "vfork", "x32", "int 0x80"] {
        let open = House::new().run_in(&runtime, "unsealed Python", fatal);
        if !open.status.success() {
            println!("not shown on this machine, where it ends in {} unsealed: {fatal}", open.status);
        }
        let closed = House::new().run_in(&runtime, "sealed Python", fatal);
        assert_eq!(closed.status.signal(), Some(libc::SIGSYS), "{fatal}: {}", closed.complained);
    }
}

pub(crate) fn sealed_python_works() {
    let Some(runtime) = runtime() else {
        println!("no Python on this machine: its work was not tried");
        return;
    };
    let end = House::new().run_in(&runtime, "sealed Python", "work");
    assert!(end.status.success(), "{} {}", end.status, end.complained);
}

fn no_rare_call_works_in(runtime: &str) {
    let run = |seal, what| House::new().run_in(runtime, seal, what);
    let answers = |seal| -> BTreeMap<String, String> {
        let end = run(seal, "all");
        assert!(end.status.success(), "{seal}: {} {} {}", end.status, end.said, end.complained);
        let lines = end.said.lines().filter_map(|line| line.split_once(": "));
        lines.map(|(name, answer)| (name.to_owned(), answer.to_owned())).collect()
    };
    let (open, closed) = (answers("unsealed Python"), answers("sealed Python"));
    assert!(!closed.is_empty());
    let mut shown = 0;
    for (name, answer) in &closed {
        let wanted = if name == "clone3" { "ENOSYS" } else { "EPERM" };
        assert_eq!(answer, wanted, "{name}");
        assert!(name == "clone3" || promised().contains(name), "{name} is not in the manual");
        if open[name] == wanted {
            println!("not shown on this machine, where it is answered {wanted} unsealed: {name}");
        }
        shown += usize::from(open[name] != wanted);
    }
    println!("Python: of {} rare calls {shown} are answered otherwise unsealed, none sealed", closed.len());
}
