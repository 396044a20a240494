//! Processes that shut themselves out of data, and try to open it. This program runs each test in a process of its own, by its
//! name and a folder that holds nothing yet; a name, or a part of one, runs those alone.
#![allow(clippy::print_stdout)]

use std::fs::{self, File};
use std::io::{self, IoSliceMut, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use nix::sched::{CloneFlags, unshare};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use rustix::fs::{CWD, Mode, OFlags, inotify, openat};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::{Resource, Rlimit, getppid, prlimit, test_kill_process};
use sandbox::{Demand, SealError, ShutOut, ShutOutLevel, shut_out};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

macro_rules! tests {
    ($($test:ident,)*) => {
        const TESTS: &[(&str, fn(&Path))] = &[$((stringify!($test), $test)),*];
    };
}

tests![
    data_beside_the_configuration_and_the_state_is_opened_by_no_way,
    what_the_process_uses_stays_as_usable_as_it_was,
    names_are_resolved_and_connections_made,
    no_service_of_its_machine_is_asked_over_a_socket,
    what_its_own_work_never_needs_is_refused,
    required_refuses_a_machine_without_filters_and_best_effort_says_so,
    a_folder_is_left_to_it_but_for_the_data_however_deep_that_lies,
    links_in_the_data_are_followed_and_what_comes_later_is_shut_too,
    what_others_replace_in_a_folder_that_is_followed_is_read,
    data_at_the_standard_input_is_not_read,
    data_that_stays_open_is_named_with_its_descriptor,
    a_key_in_the_data_is_refused_unless_nothing_is_asked_of_the_sandbox,
    data_in_a_folder_that_is_written_in_is_refused_or_said_to_be_open,
    what_is_used_inside_the_data_is_refused,
    a_second_name_of_the_data_in_a_folder_that_is_used_is_found,
    a_process_with_threads_is_refused_and_off_does_nothing,
];

/// What a probe of a kernel that can hold nobody ends with.
const NO_LANDLOCK: u8 = 3;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words == ["probe"] {
        let held = shut_out(&ShutOut::default(), Demand::Required);
        return ExitCode::from(if matches!(held, Err(SealError::NoLandlock(_))) { NO_LANDLOCK } else { 0 });
    }
    if let [name, folder] = &*words {
        let (_, test) = TESTS.iter().find(|(known, _)| known == name).unwrap();
        test(Path::new(folder));
        return ExitCode::SUCCESS;
    }
    let own = std::env::current_exe().unwrap();
    if Command::new(&own).arg("probe").status().unwrap().code() == Some(i32::from(NO_LANDLOCK)) {
        println!("not shown on this machine, whose kernel has no Landlock");
        return ExitCode::SUCCESS;
    }
    let named = words.first().filter(|word| !word.starts_with('-'));
    let mut code = ExitCode::SUCCESS;
    for (name, _) in TESTS.iter().filter(|(name, _)| named.is_none_or(|named| name.contains(named.as_str())))
    {
        let folder = tempfile::tempdir().unwrap();
        // Open in a process that is not shut out: what is open there is no way in either.
        fs::write(folder.path().join("silo.csv"), "a,b\n1,2\n").unwrap();
        let _open = File::open(folder.path().join("silo.csv")).unwrap();
        let status = Command::new(&own).arg(name).arg(folder.path()).current_dir(&folder).status().unwrap();
        let said = if status.success() { "ok" } else { "FAILED" };
        println!("test {name} ... {said}");
        if !status.success() {
            // As the library's harness names it, for whoever looks for the name.
            println!("---- {name} stdout ----");
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// As a silo's folder may be: the data beside the configuration and the state.
fn silo(at: &Path) -> ShutOut {
    fs::write(at.join("client.toml"), "[policy]").unwrap();
    fs::create_dir(at.join("state")).unwrap();
    let [data, read, write] = ["silo.csv", "client.toml", "state"].map(|name| vec![at.join(name)]);
    ShutOut { data, read, write, ..ShutOut::default() }
}

fn required(what: &ShutOut) -> ShutOutLevel {
    let level = shut_out(what, Demand::Required).unwrap();
    assert!(level.is_full(), "{level}");
    level
}

/// Whether it is refused because it is not allowed, and for no other reason.
#[track_caller]
fn denied<T>(tried: io::Result<T>) -> bool {
    match tried {
        Ok(_) => false,
        Err(why) => {
            let refusals = [io::ErrorKind::PermissionDenied, io::ErrorKind::CrossesDevices];
            assert!(refusals.contains(&why.kind()), "{why}");
            true
        }
    }
}

fn data_beside_the_configuration_and_the_state_is_opened_by_no_way(at: &Path) {
    let what = silo(at);
    let data = at.join("silo.csv");
    symlink(&data, at.join("state/before.csv")).unwrap();
    let parent = openat(CWD, at, OFlags::PATH, Mode::empty()).unwrap();
    let listing = File::open(at).unwrap();
    let own = PathBuf::from("/proc/self");
    let above = PathBuf::from(format!("/proc/{}", getppid().unwrap().as_raw_pid()));
    let leads_there = |way: &PathBuf| fs::read_link(way).is_ok_and(|to| to == data.canonicalize().unwrap());
    let elsewhere = (3..100).map(|number| above.join(format!("fd/{number}"))).find(leads_there).unwrap();
    required(&what);

    let relative = data.strip_prefix("/").unwrap();
    let ways = [
        data.clone(),
        "silo.csv".into(),
        at.join("state/../silo.csv"),
        at.join("state/before.csv"),
        own.join("root").join(relative),
        own.join("cwd/silo.csv"),
        own.join("task").join(std::process::id().to_string()).join("cwd/silo.csv"),
        own.join(format!("fd/{}/silo.csv", parent.as_raw_fd())),
        above.join("root").join(relative),
        above.join("cwd/silo.csv"),
        above.join("mem"),
        above.join("environ"),
        elsewhere,
    ];
    for way in &ways {
        assert!(denied(File::open(way)), "{}", way.display());
        assert!(denied(fs::OpenOptions::new().write(true).open(way)), "{}", way.display());
    }
    for folder in [&parent, &listing.into()] {
        assert!(denied(openat(folder, "silo.csv", OFlags::RDONLY, Mode::empty()).map_err(Into::into)));
    }
    assert!(denied(fs::read_dir(at)));

    let later = at.join("state/later.csv");
    assert!(denied(fs::hard_link(&data, &later)), "a second name");
    assert!(denied(fs::rename(&data, &later)), "another place");
    assert!(denied(symlink(&data, &later)), "a link");
    assert!(denied(fs::copy(&data, &later)));
    assert!(denied(Command::new("/bin/cat").arg(&data).status()), "another program");
    assert!(!Path::new("/dev/mem").exists() || denied(File::open("/dev/mem")));
}

fn what_the_process_uses_stays_as_usable_as_it_was(at: &Path) {
    let what = silo(at);
    fs::write(at.join("state/journal"), "one").unwrap();
    fs::create_dir(at.join("state/kept")).unwrap();
    required(&what);
    assert_eq!(fs::read_to_string(at.join("client.toml")).unwrap(), "[policy]");
    assert!(denied(fs::write(at.join("client.toml"), "")));

    let state = at.join("state");
    fs::OpenOptions::new().append(true).open(state.join("journal")).unwrap().write_all(b", two").unwrap();
    assert_eq!(fs::read_to_string(state.join("journal")).unwrap(), "one, two");
    fs::write(state.join("later.tmp"), "later").unwrap();
    fs::rename(state.join("later.tmp"), state.join("later")).unwrap();
    fs::create_dir_all(state.join("a/b")).unwrap();
    fs::rename(state.join("later"), state.join("a/b/later")).unwrap();
    assert_eq!(fs::read_to_string(state.join("a/b/later")).unwrap(), "later");
    fs::hard_link(state.join("a/b/later"), state.join("a/b/linked")).unwrap();
    File::open(&state).unwrap().sync_all().unwrap();
    File::open(state.join("journal")).unwrap().lock().unwrap();
    fs::remove_dir_all(state.join("a")).unwrap();
    assert!(fs::read_dir(&state).unwrap().count() == 2);
    File::options().write(true).open("/dev/null").unwrap().write_all(b"x").unwrap();
    File::open("/dev/urandom").unwrap().read_exact(&mut [0; 8]).unwrap();
    assert!(std::thread::available_parallelism().is_ok());
    assert!(std::thread::spawn(|| File::open("silo.csv").is_err()).join().unwrap(), "also its threads");
}

fn names_are_resolved_and_connections_made(at: &Path) {
    let what = silo(at);
    let there = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = there.local_addr().unwrap().port();
    required(&what);
    let mut here = TcpStream::connect(("localhost", port)).unwrap();
    here.write_all(b"hello").unwrap();
    let mut heard = [0; 5];
    there.accept().unwrap().0.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    assert!(Path::new("/etc/hosts").exists() && File::open("/etc/hosts").is_ok());
}

fn no_service_of_its_machine_is_asked_over_a_socket(at: &Path) {
    let what = silo(at);
    let bus = at.join("state/bus");
    let _listens = UnixListener::bind(&bus).unwrap();
    let hidden = SocketAddr::from_abstract_name(at.as_os_str().as_encoded_bytes()).unwrap();
    let _listens_too = UnixListener::bind_addr(&hidden).unwrap();
    drop((UnixStream::connect(&bus).unwrap(), UnixStream::connect_addr(&hidden).unwrap()));
    required(&what);
    assert!(denied(UnixStream::connect(&bus)));
    assert!(denied(UnixStream::connect_addr(&hidden)));
    assert!(denied(UnixDatagram::unbound()));
    assert!(denied(UnixDatagram::pair()), "one end of it can be sent from to any name");
    for family in [AddressFamily::NETLINK, AddressFamily::PACKET, AddressFamily::VSOCK] {
        assert!(denied(socket(family, SocketType::RAW, None).map_err(io::Error::from)));
    }
    // What the processes that it started are spoken with over, and the network.
    let (mut one, mut other) = UnixStream::pair().unwrap();
    one.write_all(b"x").unwrap();
    other.read_exact(&mut [0]).unwrap();
    UdpSocket::bind("127.0.0.1:0").unwrap();
}

fn what_its_own_work_never_needs_is_refused(at: &Path) {
    let what = silo(at);
    let parent = getppid().unwrap();
    let number = nix::unistd::Pid::from_raw(parent.as_raw_pid());
    let watch = inotify::init(inotify::CreateFlags::empty()).unwrap();
    required(&what);
    let mut byte = [0];
    let here = RemoteIoVec { base: 1 << 20, len: 1 };
    let read = process_vm_readv(number, &mut [IoSliceMut::new(&mut byte)], &[here]);
    let few = Rlimit { current: Some(0), maximum: Some(0) };
    let seen = inotify::WatchFlags::ACCESS;
    let tried: [(&str, io::Result<()>); 8] = [
        ("read another's memory", read.map(drop).map_err(Into::into)),
        ("trace it", nix::sys::ptrace::attach(number).map_err(Into::into)),
        ("signal it", test_kill_process(parent).map_err(Into::into)),
        ("change its limits", prlimit(Some(parent), Resource::Core, few).map(drop).map_err(Into::into)),
        ("make a user namespace", unshare(CloneFlags::CLONE_NEWUSER).map_err(Into::into)),
        ("enter a root", rustix::process::chroot(at).map_err(Into::into)),
        (
            "see who reads",
            inotify::add_watch(&watch, at.join("silo.csv"), seen).map(drop).map_err(Into::into),
        ),
        ("start a process", Command::new("/proc/self/exe").spawn().map(drop)),
    ];
    for (what, tried) in tried {
        let why = tried.expect_err(what);
        assert_eq!(why.raw_os_error(), Some(nix::errno::Errno::EPERM as i32), "{what}: {why}");
    }
    assert!(std::thread::spawn(|| true).join().unwrap(), "it has threads all the same");
}

fn required_refuses_a_machine_without_filters_and_best_effort_says_so(at: &Path) {
    let what = silo(at);
    let rules = [(libc::SYS_seccomp, Vec::new())].into_iter().collect();
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    let target = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, absent, target).unwrap();
    apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
    let why = shut_out(&what, Demand::Required).unwrap_err();
    assert!(matches!(why, SealError::NoFilter(_)) && why.to_string().contains("best_effort"), "{why}");
    let level = shut_out(&what, Demand::BestEffort).unwrap();
    assert!(!level.is_full() && level.landlock > 0 && level.open.is_empty(), "{level}");
    assert!(level.to_string().contains("no filter of system calls"), "{level}");
}

fn a_folder_is_left_to_it_but_for_the_data_however_deep_that_lies(at: &Path) {
    fs::create_dir_all(at.join("share/site/rows")).unwrap();
    for file in ["share/notes", "share/site/notes", "share/site/rows/one.csv"] {
        fs::write(at.join(file), "x").unwrap();
    }
    symlink(at.join("share/site/rows"), at.join("share/link")).unwrap();
    required(&ShutOut {
        data: vec![at.join("share/link")],
        read: vec![at.join("share")],
        ..ShutOut::default()
    });
    for file in ["share/notes", "share/site/notes"] {
        assert_eq!(fs::read_to_string(at.join(file)).unwrap(), "x");
    }
    assert!(denied(File::open(at.join("share/site/rows/one.csv"))));
    assert!(denied(File::open(at.join("share/link/one.csv"))));
    assert!(denied(fs::read_dir(at.join("share/site/rows"))));
}

fn links_in_the_data_are_followed_and_what_comes_later_is_shut_too(at: &Path) {
    for folder in ["used", "used/pool", "rows"] {
        fs::create_dir(at.join(folder)).unwrap();
    }
    fs::write(at.join("used/pool/real.csv"), "x").unwrap();
    fs::write(at.join("used/pool/other"), "x").unwrap();
    symlink(at.join("used/pool/real.csv"), at.join("rows/one.csv")).unwrap();
    let data = vec![at.join("rows"), at.join("used/to_come")];
    let into = File::open(at.join("rows")).unwrap();
    required(&ShutOut { data, read: vec![at.join("used")], ..ShutOut::default() });
    assert!(denied(File::open(at.join("rows/one.csv"))));
    assert!(denied(File::open(at.join("used/pool/real.csv"))));
    assert!(File::open(at.join("used/pool/other")).is_ok());
    // What somebody else puts there it could not open either: this process cannot even try to make it.
    let flags = OFlags::CREATE | OFlags::WRONLY;
    assert!(denied(openat(&into, "later.csv", flags, Mode::RUSR).map_err(Into::into)));
    assert!(denied(File::create(at.join("used/to_come"))));
}

fn what_others_replace_in_a_folder_that_is_followed_is_read(at: &Path) {
    fs::create_dir(at.join("keys")).unwrap();
    fs::write(at.join("keys/keyring"), "one").unwrap();
    let moves = "read now; echo two > keys/next; mv keys/next keys/keyring";
    let mut other =
        Command::new("sh").args(["-c", moves]).current_dir(at).stdin(Stdio::piped()).spawn().unwrap();
    let what =
        ShutOut { data: vec![at.join("silo.csv")], follow: vec![at.join("keys")], ..ShutOut::default() };
    what.check(Demand::Required).unwrap();
    required(&what);
    assert_eq!(fs::read_to_string(at.join("keys/keyring")).unwrap(), "one");
    assert!(denied(fs::write(at.join("keys/keyring"), "three")));
    other.stdin.take().unwrap().write_all(b"now\n").unwrap();
    assert!(other.wait().unwrap().success());
    assert_eq!(fs::read_to_string(at.join("keys/keyring")).unwrap(), "two\n");
}

fn data_at_the_standard_input_is_not_read(at: &Path) {
    let what = silo(at);
    nix::unistd::dup2_stdin(File::open(at.join("silo.csv")).unwrap()).unwrap();
    required(&what);
    assert_eq!(io::stdin().read_to_string(&mut String::new()).unwrap(), 0);
}

fn data_that_stays_open_is_named_with_its_descriptor(at: &Path) {
    let what = silo(at);
    let data = at.join("silo.csv").canonicalize().unwrap();
    let open = File::open(&data).unwrap();
    let level = shut_out(&what, Demand::BestEffort).unwrap();
    assert!(!level.is_full() && level.open == [data], "{level}");
    let why = shut_out(&what, Demand::Required).unwrap_err();
    assert!(matches!(why, SealError::OpenAlready { .. }), "{why}");
    assert!(why.to_string().contains(&format!("descriptor {} ", open.as_raw_fd())), "{why}");
}

fn a_key_in_the_data_is_refused_unless_nothing_is_asked_of_the_sandbox(at: &Path) {
    for folder in ["rows", "rows/tls", "tls"] {
        fs::create_dir(at.join(folder)).unwrap();
    }
    fs::write(at.join("rows/tls/transport.key"), "x").unwrap();
    symlink(at.join("rows/tls/transport.key"), at.join("tls/key")).unwrap();
    let of = |secret: &str| ShutOut {
        data: vec![at.join("rows")],
        secrets: vec![at.join(secret)],
        ..ShutOut::default()
    };
    for secret in ["rows/tls/transport.key", "tls/key", "rows/to_come"] {
        for demand in [Demand::Required, Demand::BestEffort] {
            let why = of(secret).check(demand).unwrap_err();
            assert!(matches!(why, SealError::SecretInData { .. }), "{why}");
            assert!(shut_out(&of(secret), demand).is_err());
        }
        of(secret).check(Demand::Off).unwrap();
    }
    let why = of("tls/key").check(Demand::Required).unwrap_err().to_string();
    assert!(why.contains("rows/tls/transport.key") && why.contains("move the data"), "{why}");
    required(&of("tls/other"));
}

fn data_in_a_folder_that_is_written_in_is_refused_or_said_to_be_open(at: &Path) {
    let data = at.join("silo.csv");
    let what = ShutOut { data: vec![data.clone()], write: vec![at.to_owned()], ..ShutOut::default() };
    let why = shut_out(&what, Demand::Required).unwrap_err();
    assert!(matches!(why, SealError::DataInside { .. }), "{why}");
    let why = why.to_string();
    assert!(why.contains(data.to_str().unwrap()) && why.contains("move that to a folder"), "{why}");
    let follows = ShutOut { write: Vec::new(), follow: vec![at.to_owned()], ..what.clone() };
    for what in [&what, &follows] {
        assert!(matches!(what.check(Demand::Required), Err(SealError::DataInside { .. })));
    }
    assert!(File::open(&data).is_ok(), "looking restricts nothing");
    let level = shut_out(&what, Demand::BestEffort).unwrap();
    assert!(!level.is_full() && level.open == [data], "{level}");
    assert!(level.to_string().contains("can be opened"), "{level}");
}

fn what_is_used_inside_the_data_is_refused(at: &Path) {
    let what = ShutOut { data: vec![at.to_owned()], ..silo(at) };
    let why = shut_out(&what, Demand::Required).unwrap_err();
    assert!(matches!(why, SealError::InsideData { .. }), "{why}");
    let nowhere = ShutOut { write: vec![at.join("nowhere")], ..ShutOut::default() };
    let why = shut_out(&nowhere, Demand::BestEffort).unwrap_err();
    assert!(matches!(why, SealError::Path { .. }), "{why}");
}

fn a_second_name_of_the_data_in_a_folder_that_is_used_is_found(at: &Path) {
    let what = silo(at);
    fs::create_dir(at.join("state/kept")).unwrap();
    let second = at.join("state/kept/rows");
    what.check(Demand::Required).unwrap();
    fs::hard_link(at.join("silo.csv"), &second).unwrap();
    // Before anything is held, as what holds it finds it.
    assert!(matches!(what.check(Demand::Required), Err(SealError::StillOpen(found)) if found == second));
    let level = shut_out(&what, Demand::BestEffort).unwrap();
    assert_eq!(level.open, [second], "{level}");
    let why = shut_out(&what, Demand::Required).unwrap_err();
    assert!(matches!(why, SealError::StillOpen(_) | SealError::Path { .. }), "{why}");
}

fn a_process_with_threads_is_refused_and_off_does_nothing(at: &Path) {
    let what = silo(at);
    let level = shut_out(&what, Demand::Off).unwrap();
    assert!(!level.is_full() && File::open(at.join("silo.csv")).is_ok(), "{level}");
    std::thread::scope(|scope| {
        let (end, wait) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || wait.recv());
        for demand in [Demand::Required, Demand::BestEffort] {
            let why = shut_out(&what, demand).unwrap_err();
            assert!(matches!(why, SealError::Threads(2)), "{why}");
        }
        drop(end);
    });
    assert!(File::open(at.join("silo.csv")).is_ok());
}
