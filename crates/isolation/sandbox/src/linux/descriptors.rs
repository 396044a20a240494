use std::fs::{self, File};
use std::io::{self, stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;

use super::step;
use crate::SealError;

/// Closes what was inherited or opened, but the three standard streams, none of which may lead out of the machine: no filter
/// stands between a process and a connection that it has already.
pub(crate) fn close_others() -> Result<(), SealError> {
    for (number, stream) in [stdin().as_fd(), stdout().as_fd(), stderr().as_fd()].into_iter().enumerate() {
        if is_network(stream) {
            return Err(SealError::NetworkStream(number));
        }
    }
    // The listing itself is a descriptor, and closed by then.
    for descriptor in step("list the descriptors in /proc/self/fd", open())? {
        match nix::unistd::close(descriptor) {
            Ok(()) | Err(Errno::EBADF | Errno::EINTR) => {}
            Err(errno) => step("close a descriptor", Err(errno))?,
        }
    }
    Ok(())
}

/// Has nothing as its standard input any more, whatever it was started with.
pub(crate) fn give_up_input() -> Result<(), SealError> {
    let nothing = step("open /dev/null", File::open("/dev/null"))?;
    step("give up the standard input", nix::unistd::dup2_stdin(&nothing))
}

fn is_network(stream: BorrowedFd<'_>) -> bool {
    // Whatever is no socket has no domain.
    socket_domain(stream).is_ok_and(|domain| domain != AddressFamily::UNIX)
}

fn open() -> io::Result<Vec<RawFd>> {
    let mut open = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        open.extend(number.filter(|number: &RawFd| *number > 2));
    }
    Ok(open)
}
