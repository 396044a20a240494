//! What goes on as before in a sealed process, or fails without taking anything with it.

use std::backtrace::Backtrace;
use std::collections::HashSet;
use std::fs;
use std::io::{ErrorKind, IsTerminal, Read, Write, stderr, stdin};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, getpid, kill_process, parent_process_death_signal};
use rustix::thread::{membarrier_query, sched_getaffinity};

use crate::attempts::allowed;
use crate::place::Place;

/// Does a trainer's work, but for the training.
pub(crate) fn work(place: &Place) {
    allowed(place).unwrap();
    threads();
    clocks();
    the_stream();
    // Grown where it lies and moved, by the allocator's ways of both sizes.
    let mut grown = Vec::new();
    (0..20_000_000_u32).for_each(|number| grown.push(u64::from(number)));
    assert_eq!(grown.iter().sum::<u64>(), 19_999_999 * 10_000_000);
    // A hash set is seeded by the kernel.
    assert!(HashSet::from([1, 2]).contains(&2));
    assert!(!stderr().is_terminal());
    assert!(Backtrace::force_capture().to_string().contains(':'));
    assert!(kill_process(getpid(), Signal::CONT).is_ok());
    assert_eq!(parent_process_death_signal().unwrap(), Some(Signal::KILL));
    if Path::new("/sys/devices/system/cpu").exists() {
        assert!(fs::read_dir("/sys/devices/system/cpu").unwrap().count() > 0);
        fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    }
    for file in ["/proc/self/status", "/proc/self/cgroup", "/proc/meminfo"] {
        assert_eq!(fs::read(file).unwrap_err().kind(), ErrorKind::PermissionDenied, "{file}");
    }
}

fn threads() {
    assert!(thread::available_parallelism().unwrap().get() >= 1);
    assert!(sched_getaffinity(None::<Pid>).unwrap().count() >= 1);
    let _ = membarrier_query();
    let sum: u64 = thread::scope(|scope| {
        let parts = (0..16_u64).map(|part| {
            let builder = thread::Builder::new().name(format!("part {part}"));
            builder.spawn_scoped(scope, move || (0..1_000).map(|number| number * part).sum::<u64>()).unwrap()
        });
        parts.collect::<Vec<_>>().into_iter().map(|part| part.join().unwrap()).sum()
    });
    assert_eq!(sum, 120 * 499_500);
    assert!(thread::spawn(|| panic!("a thread's own end")).join().is_err());
}

fn clocks() {
    let start = Instant::now();
    let (_open, never) = channel::<()>();
    let waited = never.recv_timeout(Duration::from_millis(1)).unwrap_err();
    assert!(waited == RecvTimeoutError::Timeout && start.elapsed() >= Duration::from_millis(1));
    assert!(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() > Duration::from_secs(1 << 30));
}

/// The one thing that joins it to another process.
fn the_stream() {
    let mut stream = UnixStream::from(stdin().as_fd().try_clone_to_owned().unwrap());
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"!");
    stream.write_all(&[0; 64]).unwrap();
    assert!(stream.peer_addr().unwrap().is_unnamed());
    stream.shutdown(std::net::Shutdown::Write).unwrap();
}
