//! Daemons, spawners and trainers as processes: this program in each of the roles, by its first argument. Without a role it
//! runs the tests, of which a further argument names some.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use nix::sys::{ptrace, wait};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal, getpid, kill_process, pidfd_open, prlimit};
use sandbox::Demand;
use spawner::{Exit, Program, Settings, SpawnError, Spawner, SpawnerArgs};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("spawner") => as_spawner(),
        Some("train") => as_trainer(&words[1]),
        Some("daemon") => as_daemon(&words[1]),
        word => tests(word.filter(|word| !word.starts_with('-')).unwrap_or_default()),
    }
}

macro_rules! run {
    ($named:expr, $($test:ident,)*) => {
        $(if stringify!($test).contains($named) {
            $test();
            println!("test {} ... ok", stringify!($test));
        })*
    };
}

fn tests(named: &str) -> ExitCode {
    run!(
        named,
        a_trainer_has_the_socket_as_its_standard_input_and_talks_both_ways,
        a_trainer_has_no_other_environment_descriptors_or_network_than_it_is_given,
        a_trainer_that_hangs_is_killed_and_one_that_ended_keeps_its_own_end,
        a_trainer_that_its_daemon_ends_is_told_from_one_that_is_killed_by_another,
        a_trainer_that_is_killed_and_does_not_go_stops_nothing_and_keeps_its_place_until_it_is_gone,
        no_more_trainers_than_allowed_are_there_and_none_is_ended_twice,
        a_daemon_that_is_killed_takes_its_spawner_and_their_trainers_with_it,
        a_spawner_that_is_killed_takes_its_trainers_with_it_and_every_later_call_says_what_to_do,
        a_spawner_that_is_dropped_ends_its_trainers,
        a_configuration_that_was_replaced_is_read_anew_and_nothing_else_in_its_place,
        whatever_is_no_request_ends_the_spawner_and_its_trainers,
        nothing_that_a_daemon_holds_passes_to_its_spawner,
        requests_without_end_that_nobody_reads_the_answers_of_end_with_the_daemon,
        a_hundred_trainers_one_after_another_leave_nothing_behind,
        a_program_that_is_none_or_no_spawner_is_named,
    );
    ExitCode::SUCCESS
}

// The roles.

#[derive(Parser)]
struct Role {
    _role: String,
    #[command(flatten)]
    args: SpawnerArgs,
}

fn as_spawner() -> ExitCode {
    match spawner::serve_daemon(&Role::parse().args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(9)
        }
    }
}

fn as_trainer(behaviour: &str) -> ExitCode {
    let descriptors = descriptors();
    spawner::tether().unwrap();
    let mut socket = spawner::standard_input().unwrap();
    match behaviour {
        "hang" => {
            let parent = std::env::var(spawner::PARENT).unwrap();
            writeln!(socket, "{parent} {}", getpid().as_raw_pid()).unwrap();
            loop {
                std::thread::park();
            }
        }
        "echo" => {
            let mut line = String::new();
            BufReader::new(&socket).read_line(&mut line).unwrap();
            socket.write_all(line.to_uppercase().as_bytes()).unwrap();
            ExitCode::from(7)
        }
        "abort" => std::process::abort(),
        "forbidden" => {
            kill_process(getpid(), Signal::SYS).unwrap();
            unreachable!("it is dead")
        }
        "report" => {
            let names: BTreeSet<String> = std::env::vars().map(|(name, _)| name).collect();
            let interfaces = std::fs::read_to_string("/proc/self/net/dev").unwrap();
            let interfaces: Vec<&str> = interfaces
                .lines()
                .filter_map(|line| line.split_once(':'))
                .map(|(name, _)| name.trim())
                .collect();
            let dumps = rustix::process::getrlimit(Resource::Core).current;
            let privileges = rustix::thread::no_new_privs().unwrap();
            let first = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
            write!(socket, "{names:?}\n{descriptors:?}\n{interfaces:?}\n{dumps:?} {privileges} {first}")
                .unwrap();
            ExitCode::SUCCESS
        }
        other => panic!("{other} is no behaviour"),
    }
}

/// With two trainers: prints what they say, then waits to be killed, or ends.
fn as_daemon(behaviour: &str) -> ExitCode {
    let spawner = started(behaviour, None);
    let trainers = [spawner.trainer().unwrap(), spawner.trainer().unwrap()];
    if behaviour == "report" {
        let mut said = String::new();
        (&trainers[0].socket).read_to_string(&mut said).unwrap();
        print!("{}\n{said}", spawner.has_no_network());
        return ExitCode::SUCCESS;
    }
    trainers.iter().for_each(|trainer| println!("{}", line(&trainer.socket)));
    loop {
        std::thread::park();
    }
}

// What the tests have in common.

fn program() -> Program {
    Program { path: std::env::current_exe().unwrap(), first: Vec::new() }
}

fn started(behaviour: &str, configuration: Option<PathBuf>) -> Spawner {
    let trainer = program().command("train", [behaviour]);
    Spawner::start(&program(), &Settings { configuration, ..settings(trainer) }).unwrap()
}

fn settings(trainer: Vec<OsString>) -> Settings {
    Settings { trainer, configuration: None, trainers_max: 2, demand: Demand::Required }
}

/// The next line of a trainer's.
fn line(mut socket: &UnixStream) -> String {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.push(0);
        let last = line.len() - 1;
        socket.read_exact(&mut line[last..]).unwrap();
    }
    line.pop();
    String::from_utf8(line).unwrap()
}

/// The spawner's and the trainer's numbers, as a hanging trainer says them.
fn numbers(said: &str) -> [Pid; 2] {
    let (spawner, trainer) = said.split_once(' ').unwrap();
    [spawner, trainer].map(|number| Pid::from_raw(number.trim().parse().unwrap()).unwrap())
}

/// Waits until the process that it stands for has ended.
fn ended(process: &OwnedFd) {
    let half_a_minute = Timespec { tv_sec: 30, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&half_a_minute)).unwrap();
    assert_eq!(ready, 1, "it lives on");
}

/// Waits until nobody has the other end any more.
fn closed(mut socket: &UnixStream) {
    assert_eq!(socket.read(&mut [0]).unwrap(), 0);
}

fn watched(process: Pid) -> OwnedFd {
    pidfd_open(process, PidfdFlags::empty()).unwrap()
}

/// The open descriptors of this process, but for the one that looks.
fn descriptors() -> BTreeSet<String> {
    let all = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let open = all.filter(|path| std::fs::read_link(path).is_ok_and(|to| !to.ends_with("fd")));
    open.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

// The tests.

fn a_trainer_has_the_socket_as_its_standard_input_and_talks_both_ways() {
    let spawner = started("echo", None);
    let [one, two] = [spawner.trainer().unwrap(), spawner.trainer().unwrap()];
    writeln!(&one.socket, "one").unwrap();
    writeln!(&two.socket, "two").unwrap();
    assert_eq!((line(&two.socket), line(&one.socket)), ("TWO".into(), "ONE".into()));
}

fn a_trainer_has_no_other_environment_descriptors_or_network_than_it_is_given() {
    // With one descriptor more, which is nobody's: the shell leaves it open in the daemon.
    let daemon = Command::new("sh")
        .args(["-c", "exec 7</dev/null; exec \"$0\" daemon report"])
        .arg(program().path)
        .env_clear()
        .envs([("FOLKMOOT_LOG", "debug"), ("TZ", "UTC"), ("KEY", "secret"), ("LD_PRELOAD", "")])
        .output()
        .unwrap();
    let said = String::from_utf8(daemon.stdout).unwrap();
    let [no_network, names, descriptors, interfaces, rest] = said.lines().collect::<Vec<_>>()[..] else {
        panic!("{said}")
    };
    assert_eq!(names, r#"{"FOLKMOOT_LOG", "FOLKMOOT_SPAWNER", "TZ"}"#);
    assert_eq!(descriptors, r#"{"0", "1", "2"}"#);
    if no_network == "true" {
        assert_eq!(interfaces, r#"["lo"]"#);
    }
    assert_eq!(
        rest, "Some(0) true 1000",
        "core dumps, new privileges, and whom a lack of memory takes first"
    );
}

fn a_trainer_that_hangs_is_killed_and_one_that_ended_keeps_its_own_end() {
    let end = |behaviour| {
        let spawner = started(behaviour, None);
        let trainer = spawner.trainer().unwrap();
        if behaviour == "hang" {
            line(&trainer.socket);
        } else {
            // To nobody, where it has ended already.
            let _ = (&trainer.socket).write_all(b"x\n");
            let _ = (&trainer.socket).read_to_end(&mut Vec::new());
        }
        spawner.end(trainer.id).unwrap()
    };
    assert_eq!(end("hang"), Exit::Signal(15));
    assert_eq!(end("echo"), Exit::Code(7));
    assert_eq!(end("abort"), Exit::Signal(6));
    let forbidden = end("forbidden").to_string();
    assert_eq!(forbidden, "killed by signal 31 (SIGSYS: it tried what the seal forbids)");
}

fn a_trainer_that_its_daemon_ends_is_told_from_one_that_is_killed_by_another() {
    let spawner = started("hang", None);
    let trainer = spawner.trainer().unwrap();
    let [_, process] = numbers(&line(&trainer.socket));
    kill_process(process, Signal::KILL).unwrap();
    let how = spawner.end(trainer.id).unwrap().to_string();
    assert!(how.contains("SIGKILL") && how.contains("not by its daemon"), "{how}");

    let deaf = "trap '' TERM; exec \"$0\" train hang".to_owned();
    let trainer = vec!["sh".into(), "-c".into(), deaf.into(), program().path.into()];
    let spawner = Spawner::start(&program(), &settings(trainer)).unwrap();
    let trainer = spawner.trainer().unwrap();
    line(&trainer.socket);
    assert_eq!(spawner.end(trainer.id).unwrap(), Exit::Signal(9), "it heeds no SIGTERM");
}

fn a_trainer_that_is_killed_and_does_not_go_stops_nothing_and_keeps_its_place_until_it_is_gone() {
    let spawner = started("hang", None);
    let [stuck, other] = [spawner.trainer().unwrap(), spawner.trainer().unwrap()];
    let process = nix::unistd::Pid::from_raw(numbers(&line(&stuck.socket))[1].as_raw_pid());
    if let Err(why) = ptrace::seize(process, ptrace::Options::empty()) {
        println!("not shown on this machine, which lets no process trace another: {why}");
        return;
    }
    assert_eq!(spawner.end(stuck.id).unwrap(), Exit::Lingering);
    assert!(matches!(spawner.end(stuck.id), Err(SpawnError::Refused(_))), "it is not ended twice");
    let why = spawner.trainer().unwrap_err().to_string();
    assert!(why.contains("1 of them killed and not gone yet"), "{why}");
    line(&other.socket);
    assert_eq!(spawner.end(other.id).unwrap(), Exit::Signal(15));
    let last = spawner.trainer().unwrap();
    spawner.trainer().unwrap_err();
    wait::waitpid(process, None).unwrap();
    spawner.trainer().unwrap();
    drop(last);
}

fn no_more_trainers_than_allowed_are_there_and_none_is_ended_twice() {
    let spawner = started("hang", None);
    let trainers = [spawner.trainer().unwrap(), spawner.trainer().unwrap()];
    let why = spawner.trainer().unwrap_err().to_string();
    assert!(why.contains("2 were started and not ended"), "{why}");
    spawner.end(trainers[0].id).unwrap();
    (&trainers[0].socket).read_to_end(&mut Vec::new()).unwrap();
    spawner.trainer().unwrap();
    let why = spawner.end(trainers[0].id).unwrap_err();
    assert!(matches!(why, SpawnError::Refused(_)), "{why}");
}

fn a_daemon_that_is_killed_takes_its_spawner_and_their_trainers_with_it() {
    let mut daemon =
        Command::new(program().path).args(["daemon", "hang"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(daemon.stdout.take().unwrap()).lines();
    let [first, second] = [numbers(&said.next().unwrap().unwrap()), numbers(&said.next().unwrap().unwrap())];
    assert_eq!(first[0], second[0]);
    let all = [first[0], first[1], second[1]].map(watched);
    daemon.kill().unwrap();
    all.iter().for_each(ended);
    daemon.wait().unwrap();
}

fn a_spawner_that_is_killed_takes_its_trainers_with_it_and_every_later_call_says_what_to_do() {
    let spawner = started("hang", None);
    let trainer = spawner.trainer().unwrap();
    let [process, _] = numbers(&line(&trainer.socket));
    assert!(!spawner.is_gone());
    kill_process(process, Signal::KILL).unwrap();
    closed(&trainer.socket);
    // Its trainers died with it, and it a moment before them.
    assert!(spawner.is_gone(), "before anybody asks it");
    assert!(spawner.lost().to_string().contains("killed by signal 9"), "{}", spawner.lost());
    for _ in 0..2 {
        let started = spawner.trainer().map(|_| ()).unwrap_err();
        let end = spawner.end(trainer.id).map(|_| ()).unwrap_err();
        let configuration = spawner.configuration().map(|_| ()).unwrap_err();
        for why in [started, end, configuration] {
            assert!(matches!(why, SpawnError::Gone { .. }), "{why}");
            let why = why.to_string();
            assert!(why.contains("killed by signal 9") && why.contains("started again"), "{why}");
        }
    }
}

fn a_spawner_that_is_dropped_ends_its_trainers() {
    let spawner = started("hang", None);
    let trainers = [spawner.trainer().unwrap(), spawner.trainer().unwrap()];
    drop(spawner);
    trainers.iter().for_each(|trainer| {
        (&trainer.socket).read_to_end(&mut Vec::new()).unwrap();
    });
}

fn a_configuration_that_was_replaced_is_read_anew_and_nothing_else_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
    write("client.toml", "one");
    write("silo.csv", "a,b\n1,2\n");
    let spawner = started("hang", Some(path("client.toml")));
    assert_eq!(spawner.configuration().unwrap(), "one");
    write("next.toml", "two");
    std::fs::rename(path("next.toml"), path("client.toml")).unwrap();
    assert_eq!(spawner.configuration().unwrap(), "two");

    let refused = || {
        let why = spawner.configuration().unwrap_err();
        assert!(matches!(why, SpawnError::Refused(_)), "{why}");
        why.to_string()
    };
    std::fs::remove_file(path("client.toml")).unwrap();
    assert!(refused().contains("client.toml: No such file"));
    std::os::unix::fs::symlink(path("silo.csv"), path("client.toml")).unwrap();
    refused();
    std::fs::remove_file(path("client.toml")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, path("client.toml"), rustix::fs::Mode::RUSR).unwrap();
    assert!(refused().contains("no file"));
    std::fs::remove_file(path("client.toml")).unwrap();
    write("client.toml", &"x".repeat(spawner::CONFIGURATION_BYTES + 1));
    assert!(refused().contains("more than"));
    std::fs::write(path("client.toml"), [0xff]).unwrap();
    refused();
    write("client.toml", &"x".repeat(spawner::CONFIGURATION_BYTES));
    assert_eq!(spawner.configuration().unwrap().len(), spawner::CONFIGURATION_BYTES);

    // One that was a link at the start is followed wherever it leads, as where a folder of files is replaced as a whole.
    std::os::unix::fs::symlink(path("client.toml"), path("link.toml")).unwrap();
    let spawner = started("hang", Some(path("link.toml")));
    write("client.toml", "three");
    assert_eq!(spawner.configuration().unwrap(), "three");
    assert!(started("hang", None).configuration().is_err());
}

/// A spawner of which the test holds the control socket itself, with a trainer.
fn spoken_to_by_hand() -> (std::process::Child, UnixStream, UnixStream) {
    let (control, theirs) = UnixStream::pair().unwrap();
    let own = program();
    let mut command = Command::new(&own.path);
    command
        .args(["spawner", "--trainers-max", "2", "--sandbox", "required", "--"])
        .args(own.command("train", ["hang"]));
    let process = command.stdin(OwnedFd::from(theirs)).stderr(Stdio::null()).spawn().unwrap();
    drop(command);
    let mut ready = [0; 6];
    (&control).read_exact(&mut ready).unwrap();
    (&control).write_all(&request(1)).unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut attached = RecvAncillaryBuffer::new(&mut space);
    let mut started = [0; 13];
    recvmsg(&control, &mut [IoSliceMut::new(&mut started)], &mut attached, RecvFlags::CMSG_CLOEXEC).unwrap();
    let Some(RecvAncillaryMessage::ScmRights(mut sockets)) = attached.drain().next() else {
        panic!("no socket")
    };
    let socket = UnixStream::from(sockets.next().unwrap());
    assert!(!line(&socket).is_empty());
    (process, control, socket)
}

fn whatever_is_no_request_ends_the_spawner_and_its_trainers() {
    for garbage in [b"quit\n".to_vec(), vec![255; 1 << 20], request(0), request(77), vec![9, 0, 0, 1]] {
        let (mut process, control, trainer) = spoken_to_by_hand();
        // It may be gone before the last byte.
        let _ = (&control).write_all(&garbage);
        closed(&trainer);
        assert_eq!(process.wait().unwrap().code(), Some(9), "{:?}", &garbage[..4]);
    }
}

/// Not even its end of the control socket, by which a spawner would outlive it.
fn nothing_that_a_daemon_holds_passes_to_its_spawner() {
    let (mut process, control, trainer) = spoken_to_by_hand();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    let own = [control.as_fd()];
    assert!(attached.push(SendAncillaryMessage::ScmRights(&own)));
    sendmsg(&control, &[IoSlice::new(&request(1))], &mut attached, SendFlags::NOSIGNAL).unwrap();
    closed(&trainer);
    assert_eq!(process.wait().unwrap().code(), Some(9));
}

fn requests_without_end_that_nobody_reads_the_answers_of_end_with_the_daemon() {
    let (mut process, control, trainer) = spoken_to_by_hand();
    control.set_nonblocking(true).unwrap();
    // Until neither side takes any more.
    let mut full = 0;
    while full < 1000 {
        full = if (&control).write(&request(3)).is_ok() { 0 } else { full + 1 };
    }
    drop(control);
    closed(&trainer);
    process.wait().unwrap();
}

fn a_hundred_trainers_one_after_another_leave_nothing_behind() {
    let before = descriptors();
    let spawner = started("hang", None);
    let first = spawner.trainer().unwrap();
    let [process, _] = numbers(&line(&first.socket));
    spawner.end(first.id).unwrap();
    let few = Rlimit { current: Some(40), maximum: Some(40) };
    prlimit(Some(process), Resource::Nofile, few).unwrap();
    for _ in 0..100 {
        let trainer = spawner.trainer().unwrap();
        spawner.end(trainer.id).unwrap();
    }
    let number = process.as_raw_pid();
    let children = std::fs::read_to_string(format!("/proc/{number}/task/{number}/children")).unwrap();
    assert_eq!(children, "", "zombies of the spawner's");
    drop((spawner, first));
    assert_eq!(descriptors(), before);
}

fn a_program_that_is_none_or_no_spawner_is_named() {
    let start = |path: &str| {
        let program = Program { path: path.into(), first: Vec::new() };
        Spawner::start(&program, &settings(vec!["none".into()])).unwrap_err()
    };
    let why = start("/nowhere/folkmoot-trainer");
    assert!(matches!(why, SpawnError::Start { .. }) && why.to_string().contains("/nowhere"), "{why}");
    let why = start("/bin/false").to_string();
    assert!(why.contains("/bin/false") && why.contains("exit code 1"), "{why}");
    let spawner = Spawner::start(&program(), &settings(vec!["/nowhere/trainer".into()])).unwrap();
    let why = spawner.trainer().unwrap_err();
    assert!(matches!(why, SpawnError::Refused(_)) && why.to_string().contains("/nowhere/trainer"), "{why}");
}

/// A request of this kind.
fn request(kind: u8) -> Vec<u8> {
    [&[9, 0, 0, 0, kind][..], &[0; 8]].concat()
}
