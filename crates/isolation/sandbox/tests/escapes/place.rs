//! Where an attempt is made: the files, sockets and processes that a sealed process is to be kept from, and works on unsealed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::Pid;
use tempfile::TempDir;

/// What only the process that starts the others may know.
pub(crate) static SECRET: [u8; 16] = *b"known to one alo";

/// What an attempt is given.
pub(crate) struct Place {
    pub(crate) base: PathBuf,
    pub(crate) tcp: u16,
    pub(crate) udp: u16,
    pub(crate) parent: Pid,
    /// Where [`SECRET`] lies in the parent.
    pub(crate) secret: usize,
    /// A descriptor of the parent that is not closed at an exec.
    pub(crate) leaked: RawFd,
}

impl Place {
    /// As [`House::arguments`] writes it.
    pub(crate) fn read(arguments: &[String]) -> Self {
        let [base, tcp, udp, parent, secret, leaked] = arguments else { panic!("{arguments:?}") };
        Self {
            base: base.into(),
            tcp: tcp.parse().unwrap(),
            udp: udp.parse().unwrap(),
            parent: Pid::from_raw(parent.parse().unwrap()).unwrap(),
            secret: secret.parse().unwrap(),
            leaked: leaked.parse().unwrap(),
        }
    }

    /// The data that the process is there to read.
    pub(crate) fn data(&self) -> PathBuf {
        self.base.join("data")
    }

    /// The folder that it may write to.
    pub(crate) fn task(&self) -> PathBuf {
        self.base.join("task")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.base.join("keys/identity.key")
    }

    pub(crate) fn other_data(&self) -> PathBuf {
        self.base.join("other")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.base.join("socket")
    }

    pub(crate) fn abstract_socket(&self) -> io::Result<SocketAddr> {
        SocketAddr::from_abstract_name(self.base.as_os_str().as_encoded_bytes())
    }

    /// A file of the parent in `/proc`.
    pub(crate) fn of_parent(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.parent.as_raw_nonzero().to_string()).join(file)
    }
}

/// Builds a fresh place, and holds what answers there.
pub(crate) struct House {
    folder: TempDir,
    tcp: TcpListener,
    udp: UdpSocket,
    _named: UnixListener,
    _abstract: UnixListener,
    leaked: File,
}

/// How a process ended, and what it said.
pub(crate) struct End {
    pub(crate) status: ExitStatus,
    pub(crate) said: String,
    pub(crate) complained: String,
}

impl House {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["data", "task", "keys", "other", "cwd"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("data/table.csv"), "age,label\n61,1\n").unwrap();
        fs::write(at("other/table.csv"), "age,label\n47,0\n").unwrap();
        fs::write(at("keys/identity.key"), "a private key").unwrap();
        std::os::unix::fs::symlink(at("keys/identity.key"), at("task/link")).unwrap();
        let leaked = File::open(at("keys/identity.key")).unwrap();
        fcntl_setfd(&leaked, FdFlags::empty()).unwrap();
        let name = SocketAddr::from_abstract_name(folder.path().as_os_str().as_encoded_bytes()).unwrap();
        Self {
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            udp: UdpSocket::bind("127.0.0.1:0").unwrap(),
            _named: UnixListener::bind(at("socket")).unwrap(),
            _abstract: UnixListener::bind_addr(&name).unwrap(),
            leaked,
            folder,
        }
    }

    /// A socket by which others can be reached over the network.
    pub(crate) fn network(&self) -> OwnedFd {
        self.tcp.try_clone().unwrap().into()
    }

    fn arguments(&self) -> [String; 6] {
        [
            self.folder.path().to_str().unwrap().to_owned(),
            self.tcp.local_addr().unwrap().port().to_string(),
            self.udp.local_addr().unwrap().port().to_string(),
            std::process::id().to_string(),
            (&raw const SECRET).addr().to_string(),
            self.leaked.as_raw_fd().to_string(),
        ]
    }

    /// Runs this test's own executable in one of its roles inside, with a socket pair as its standard input, as a trainer has it.
    pub(crate) fn run(&self, seal: &str, what: &str) -> End {
        joined(&mut self.command(seal, what))
    }

    /// The same with an interpreter's runtime, one path a line.
    pub(crate) fn run_in(&self, runtime: &str, seal: &str, what: &str) -> End {
        joined(self.command(seal, what).env("RUNTIME", runtime))
    }

    /// The same with another standard input.
    pub(crate) fn run_beside(&self, stdin: OwnedFd, seal: &str, what: &str) -> End {
        finished(self.command(seal, what).stdin(Stdio::from(stdin)))
    }

    /// The same where whoever starts it ignores this signal, as is inherited.
    pub(crate) fn run_deaf(&self, signal: &str, seal: &str, what: &str) -> End {
        let own = self.command(seal, what);
        let mut deaf = Command::new("sh");
        deaf.arg("-c").arg(format!("trap '' {signal}; exec \"$0\" \"$@\""));
        deaf.arg(own.get_program()).args(own.get_args());
        joined(deaf.env_clear().current_dir(self.folder.path().join("cwd")))
    }

    /// Lets one wait, sealed, while the status that the kernel shows of it is looked at.
    pub(crate) fn status_of_one(&self, seal: &str) -> BTreeMap<String, String> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = self.command(seal, "wait");
        let mut child =
            command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::piped()).spawn().unwrap();
        let mut word = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
        assert_eq!(&word, b"sealed");
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        drop(ours);
        assert!(child.wait().unwrap().success());
        let lines = status.lines().filter_map(|line| line.split_once(":\t"));
        lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn command(&self, seal: &str, what: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("inside").args([seal, what]).args(self.arguments());
        command.env_clear().current_dir(self.folder.path().join("cwd"));
        command
    }
}

/// With a byte in the stream, and somebody who reads it.
fn joined(command: &mut Command) -> End {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(b"!").unwrap();
    let reader = thread::spawn(move || io::copy(&mut ours, &mut io::sink()));
    let end = finished(command.stdin(Stdio::from(OwnedFd::from(theirs))));
    // The command holds the other end until it is dropped, or takes another.
    command.stdin(Stdio::null());
    drop(reader.join());
    end
}

fn finished(command: &mut Command) -> End {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    End { status: output.status, said: text(output.stdout), complained: text(output.stderr) }
}
