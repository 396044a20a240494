//! What is said over the control socket. Each message is its length in four bytes, little-endian, then a byte for its kind and
//! the kind's body. A request is always of one size and has no descriptor with it: nothing that a daemon holds passes to a
//! spawner or a trainer. A reply holds a configuration file at most, and one of its kinds a trainer's socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::{CONFIGURATION_BYTES, Exit};

/// Of a request: its length, its kind, and a number that only one kind has.
const REQUEST_BYTES: usize = 4 + REQUEST_BODY;
const REQUEST_BODY: usize = 1 + 8;

/// What a daemon asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// One more trainer.
    Trainer,
    /// The end of a trainer.
    End(u64),
    /// The text of the configuration file.
    Configuration,
}

/// What a spawner answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Once, before any request: it has restricted itself; whether it has no network.
    Ready { no_network: bool },
    /// A trainer was started, under this number; its socket comes with it.
    Started(u64),
    /// A trainer has ended so.
    Ended(Exit),
    /// The configuration file's text.
    Text(String),
    /// What was asked for cannot be done, and why.
    Refused(String),
}

/// What ends a spawner.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// The daemon's end of the socket is closed.
    Closed,
    /// It was no request.
    Garbage(&'static str),
}

impl Request {
    pub(crate) fn send(&self, to: impl AsFd) -> io::Result<()> {
        let (kind, number): (u8, u64) = match self {
            Self::Trainer => (1, 0),
            Self::End(id) => (2, *id),
            Self::Configuration => (3, 0),
        };
        let mut message = [0; REQUEST_BYTES];
        message[..4].copy_from_slice(&(REQUEST_BODY as u32).to_le_bytes());
        message[4] = kind;
        message[5..].copy_from_slice(&number.to_le_bytes());
        send(to, &message, None)
    }

    /// The next one; what is none, or has a descriptor with it, is [`Received::Garbage`].
    pub(crate) fn receive(control: impl AsFd) -> Result<Self, Received> {
        let mut message = [0; REQUEST_BYTES];
        let mut filled = 0;
        while filled < message.len() {
            match receive(&control, &mut message[filled..], &mut []) {
                Ok((0, _)) => return Err(Received::Closed),
                Ok((more, _)) => filled += more,
                Err(why) if why.kind() == io::ErrorKind::InvalidData => {
                    return Err(Received::Garbage("a descriptor came with it"));
                }
                // A socket that fails is one whose other end is no more.
                Err(_) => return Err(Received::Closed),
            }
            if filled >= 4 && message[..4] != (REQUEST_BODY as u32).to_le_bytes() {
                return Err(Received::Garbage("its length is no request's"));
            }
        }
        let mut number = [0; 8];
        number.copy_from_slice(&message[5..]);
        match message[4] {
            1 => Ok(Self::Trainer),
            2 => Ok(Self::End(u64::from_le_bytes(number))),
            3 => Ok(Self::Configuration),
            _ => Err(Received::Garbage("its kind is none")),
        }
    }
}

impl Reply {
    /// Sends it, with a socket where it is of the kind that has one.
    pub(crate) fn send(&self, to: impl AsFd, socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let (kind, body): (u8, &[u8]) = match self {
            Self::Ready { no_network } => (1, &[u8::from(*no_network)]),
            Self::Started(id) => (2, &id.to_le_bytes()),
            Self::Ended(Exit::Code(code)) => (3, &code.to_le_bytes()),
            Self::Ended(Exit::Signal(signal)) => (4, &signal.to_le_bytes()),
            Self::Text(text) => (5, text.as_bytes()),
            Self::Refused(why) => (6, why.as_bytes()),
            Self::Ended(Exit::Lingering) => (7, &[]),
        };
        let length = u32::try_from(1 + body.len()).map_err(io::Error::other)?;
        send(to, &[&length.to_le_bytes(), [kind].as_slice(), body].concat(), socket)
    }

    /// The next one, with the socket that came with it.
    pub(crate) fn receive(control: impl AsFd) -> io::Result<(Self, Option<OwnedFd>)> {
        let mut socket = None;
        let mut length = [0; 4];
        receive_exact(&control, &mut length, &mut socket)?;
        let length = u32::from_le_bytes(length) as usize;
        if !(1..=1 + CONFIGURATION_BYTES).contains(&length) {
            return Err(invalid(format!("an answer of {length} bytes")));
        }
        let mut body = vec![0; length];
        receive_exact(&control, &mut body, &mut socket)?;
        let reply = Self::decoded(&body).ok_or_else(|| invalid("an answer that is none"))?;
        Ok((reply, socket))
    }

    fn decoded(body: &[u8]) -> Option<Self> {
        let (kind, body) = body.split_first()?;
        let text = || String::from_utf8(body.to_vec()).ok();
        Some(match (kind, body) {
            (1, [no_network @ 0..=1]) => Self::Ready { no_network: *no_network == 1 },
            (2, id) => Self::Started(u64::from_le_bytes(id.try_into().ok()?)),
            (3, code) => Self::Ended(Exit::Code(i32::from_le_bytes(code.try_into().ok()?))),
            (4, signal) => Self::Ended(Exit::Signal(i32::from_le_bytes(signal.try_into().ok()?))),
            (5, _) => Self::Text(text()?),
            (6, _) => Self::Refused(text()?),
            (7, []) => Self::Ended(Exit::Lingering),
            _ => return None,
        })
    }
}

fn invalid(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Sends all of a message; a descriptor goes with its first byte.
fn send(to: impl AsFd, message: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.as_slice();
    if !descriptors.is_empty() && !attached.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("a descriptor does not fit beside a message"));
    }
    let mut sent = 0;
    while sent < message.len() {
        match sendmsg(&to, &[IoSlice::new(&message[sent..])], &mut attached, SendFlags::NOSIGNAL) {
            Ok(more) => {
                sent += more;
                attached.clear();
            }
            Err(Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
    }
    Ok(())
}

/// Fills this, and keeps a descriptor that comes meanwhile.
fn receive_exact(from: impl AsFd, into: &mut [u8], descriptor: &mut Option<OwnedFd>) -> io::Result<()> {
    let mut filled = 0;
    while filled < into.len() {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let (more, came) = receive(&from, &mut into[filled..], &mut space)?;
        if more == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += more;
        *descriptor = came.or(descriptor.take());
    }
    Ok(())
}

/// What has come, up to this much; more descriptors than there is space for are closed, and [`io::ErrorKind::InvalidData`].
fn receive(
    from: impl AsFd,
    into: &mut [u8],
    space: &mut [MaybeUninit<u8>],
) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut attached = RecvAncillaryBuffer::new(space);
    let received = loop {
        match recvmsg(&from, &mut [IoSliceMut::new(into)], &mut attached, CLOSED_BY_EXEC) {
            Err(Errno::INTR) => {}
            received => break received?,
        }
    };
    let mut descriptors = Vec::new();
    for message in attached.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            descriptors.extend(more);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(invalid("more descriptors than were asked for"));
    }
    Ok((received.bytes, descriptors.pop()))
}

/// Nothing that is received is passed on by being there.
#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOSED_BY_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOSED_BY_EXEC: RecvFlags = RecvFlags::empty();

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    #[test]
    fn requests_and_replies_are_read_as_they_were_written() {
        let (daemon, spawner) = UnixStream::pair().unwrap();
        for request in [Request::End(7), Request::Trainer, Request::Configuration] {
            request.send(&daemon).unwrap();
            assert_eq!(Request::receive(&spawner), Ok(request));
        }
        Reply::Started(u64::MAX).send(&spawner, Some(spawner.as_fd())).unwrap();
        let (reply, socket) = Reply::receive(&daemon).unwrap();
        assert_eq!(reply, Reply::Started(u64::MAX));
        UnixStream::from(socket.unwrap()).write_all(b"x").unwrap();
        let mut one = [0];
        (&daemon).read_exact(&mut one).unwrap();
        assert_eq!(&one, b"x", "it is the socket that was sent");

        // From another thread: the largest is more than a socket holds.
        let said = |reply: &Reply| {
            thread::scope(|scope| {
                let sent = scope.spawn(|| reply.send(&spawner, None));
                let received = Reply::receive(&daemon);
                (received.is_ok()).then(|| sent.join().unwrap().unwrap());
                received
            })
        };
        let text = || "é".repeat(CONFIGURATION_BYTES / 2);
        for reply in [
            Reply::Ready { no_network: true },
            Reply::Ended(Exit::Code(-1)),
            Reply::Ended(Exit::Signal(31)),
            Reply::Ended(Exit::Lingering),
            Reply::Text(text()),
            Reply::Refused("no".into()),
        ] {
            let (received, socket) = said(&reply).unwrap();
            assert!(received == reply && socket.is_none());
        }
        (&spawner).write_all(&(CONFIGURATION_BYTES as u32 + 2).to_le_bytes()).unwrap();
        assert!(Reply::receive(&daemon).unwrap_err().to_string().contains("1048578 bytes"));
    }

    #[test]
    fn what_is_no_request_is_refused_by_its_first_bytes() {
        let receive_of = |bytes: &[u8]| {
            let (mut daemon, spawner) = UnixStream::pair().unwrap();
            daemon.write_all(bytes).unwrap();
            drop(daemon);
            Request::receive(spawner)
        };
        assert_eq!(receive_of(&[]), Err(Received::Closed));
        assert_eq!(receive_of(&[9, 0, 0, 0, 2]), Err(Received::Closed), "a daemon that died while it asked");
        assert_eq!(receive_of(b"GET / HTTP/1.1\n"), Err(Received::Garbage("its length is no request's")));
        assert_eq!(receive_of(&[255; 4]), Err(Received::Garbage("its length is no request's")));
        let of_kind = |kind: u8| receive_of(&[&[9, 0, 0, 0, kind][..], &[0; 8]].concat());
        assert_eq!(of_kind(0), Err(Received::Garbage("its kind is none")));
        assert_eq!(of_kind(4), Err(Received::Garbage("its kind is none")));
        assert_eq!(of_kind(3), Ok(Request::Configuration));
    }

    #[test]
    fn a_descriptor_that_nobody_asked_for_is_refused_and_closed() {
        let (daemon, spawner) = UnixStream::pair().unwrap();
        let (one, other) = UnixStream::pair().unwrap();
        let message = [&[9, 0, 0, 0, 3][..], &[0; 8]].concat();
        send(&daemon, &message, Some(one.as_fd())).unwrap();
        assert_eq!(Request::receive(&spawner), Err(Received::Garbage("a descriptor came with it")));
        drop(one);
        assert_eq!((&other).read(&mut [0]).unwrap(), 0, "nobody holds it any more");
    }
}
