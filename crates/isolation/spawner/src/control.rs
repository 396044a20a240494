//! What is said over the control socket. Each message is its length in four bytes, little-endian, then a byte for its kind and
//! the kind's body. A request is always of one size; a reply holds a configuration file at most.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
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
#[derive(Debug)]
pub(crate) enum Request<Fd> {
    /// A trainer with this end of a socket pair as its standard input.
    Trainer(Fd),
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
    /// A trainer was started, under this number.
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

pub(crate) fn send(control: impl AsFd, request: &Request<BorrowedFd<'_>>) -> io::Result<()> {
    let (kind, number, descriptors): (u8, u64, &[BorrowedFd<'_>]) = match request {
        Request::Trainer(socket) => (1, 0, &[*socket]),
        Request::End(id) => (2, *id, &[]),
        Request::Configuration => (3, 0, &[]),
    };
    let mut message = [0; REQUEST_BYTES];
    message[..4].copy_from_slice(&(REQUEST_BODY as u32).to_le_bytes());
    message[4] = kind;
    message[5..].copy_from_slice(&number.to_le_bytes());
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !attached.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("a descriptor does not fit beside a request"));
    }
    let mut sent = 0;
    while sent < message.len() {
        match sendmsg(&control, &[IoSlice::new(&message[sent..])], &mut attached, SendFlags::NOSIGNAL) {
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

/// The next request; what is no request, or too many descriptors, is [`Received::Garbage`].
pub(crate) fn receive(control: impl AsFd) -> Result<Request<OwnedFd>, Received> {
    let mut message = [0; REQUEST_BYTES];
    let mut descriptors = Vec::new();
    let mut filled = 0;
    while filled < message.len() {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut attached = RecvAncillaryBuffer::new(&mut space);
        let rest = &mut [IoSliceMut::new(&mut message[filled..])];
        let received = match recvmsg(&control, rest, &mut attached, CLOSED_BY_EXEC) {
            Ok(received) => received,
            Err(Errno::INTR) => continue,
            // A socket that fails is one whose other end is no more.
            Err(_) => return Err(Received::Closed),
        };
        for message in attached.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                descriptors.extend(more);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(Received::Garbage("several descriptors came at once"));
        }
        if received.bytes == 0 {
            return Err(Received::Closed);
        }
        filled += received.bytes;
        if filled >= 4 && message[..4] != (REQUEST_BODY as u32).to_le_bytes() {
            return Err(Received::Garbage("its length is no request's"));
        }
    }
    let mut number = [0; 8];
    number.copy_from_slice(&message[5..]);
    match (message[4], descriptors.pop(), descriptors.is_empty()) {
        (1, Some(socket), true) => Ok(Request::Trainer(socket)),
        (2, None, true) => Ok(Request::End(u64::from_le_bytes(number))),
        (3, None, true) => Ok(Request::Configuration),
        (1..=3, ..) => Err(Received::Garbage("it has not the descriptors of its kind")),
        _ => Err(Received::Garbage("its kind is none")),
    }
}

/// Nothing that is received is passed on by being there.
#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOSED_BY_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOSED_BY_EXEC: RecvFlags = RecvFlags::empty();

impl Reply {
    pub(crate) fn write(&self, mut to: impl Write) -> io::Result<()> {
        let (kind, body): (u8, &[u8]) = match self {
            Self::Ready { no_network } => (1, &[u8::from(*no_network)]),
            Self::Started(id) => (2, &id.to_le_bytes()),
            Self::Ended(Exit::Code(code)) => (3, &code.to_le_bytes()),
            Self::Ended(Exit::Signal(signal)) => (4, &signal.to_le_bytes()),
            Self::Text(text) => (5, text.as_bytes()),
            Self::Refused(why) => (6, why.as_bytes()),
        };
        let length = u32::try_from(1 + body.len()).map_err(io::Error::other)?;
        to.write_all(&[&length.to_le_bytes(), [kind].as_slice(), body].concat())
    }

    pub(crate) fn read(mut from: impl Read) -> io::Result<Self> {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if !(1..=1 + CONFIGURATION_BYTES).contains(&length) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("an answer of {length} bytes")));
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        Self::decoded(&body)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an answer that is none"))
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
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn requests_and_replies_are_read_as_they_were_written() {
        let (daemon, spawner) = UnixStream::pair().unwrap();
        send(&daemon, &Request::End(7)).unwrap();
        send(&daemon, &Request::Trainer(daemon.as_fd())).unwrap();
        send(&daemon, &Request::Configuration).unwrap();
        assert!(matches!(receive(&spawner), Ok(Request::End(7))));
        let Ok(Request::Trainer(socket)) = receive(&spawner) else { panic!("no socket came") };
        UnixStream::from(socket).write_all(b"x").unwrap();
        assert!(matches!(receive(&spawner), Ok(Request::Configuration)));
        let mut one = [0];
        (&spawner).read_exact(&mut one).unwrap();
        assert_eq!(&one, b"x", "it is the socket that was sent");

        let text = || "é".repeat(CONFIGURATION_BYTES / 2);
        for reply in [
            Reply::Ready { no_network: true },
            Reply::Started(u64::MAX),
            Reply::Ended(Exit::Code(-1)),
            Reply::Ended(Exit::Signal(31)),
            Reply::Text(text()),
            Reply::Refused("no".into()),
        ] {
            let mut bytes = Vec::new();
            reply.write(&mut bytes).unwrap();
            assert_eq!(Reply::read(&*bytes).unwrap(), reply);
        }
        let mut bytes = Vec::new();
        Reply::Text(text() + "x").write(&mut bytes).unwrap();
        assert!(Reply::read(&*bytes).unwrap_err().to_string().contains("1048578 bytes"));
    }

    #[test]
    fn what_is_no_request_is_refused_by_its_first_bytes() {
        let receive_of = |bytes: &[u8]| {
            let (mut daemon, spawner) = UnixStream::pair().unwrap();
            daemon.write_all(bytes).unwrap();
            drop(daemon);
            receive(spawner).map(|_| ())
        };
        assert_eq!(receive_of(&[]), Err(Received::Closed));
        assert_eq!(receive_of(&[9, 0, 0, 0, 2]), Err(Received::Closed), "a daemon that died while it asked");
        assert_eq!(receive_of(b"GET / HTTP/1.1\n"), Err(Received::Garbage("its length is no request's")));
        assert_eq!(receive_of(&[255; 4]), Err(Received::Garbage("its length is no request's")));
        let of_kind = |kind: u8| receive_of(&[&[9, 0, 0, 0, kind][..], &[0; 8]].concat());
        assert_eq!(of_kind(0), Err(Received::Garbage("its kind is none")));
        assert_eq!(of_kind(4), Err(Received::Garbage("its kind is none")));
        assert_eq!(of_kind(1), Err(Received::Garbage("it has not the descriptors of its kind")));
        assert_eq!(of_kind(3), Ok(()));
    }

    #[test]
    fn descriptors_that_nobody_asked_for_are_refused_and_closed() {
        let (daemon, spawner) = UnixStream::pair().unwrap();
        let (one, other) = UnixStream::pair().unwrap();
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(3))];
        let mut attached = SendAncillaryBuffer::new(&mut space);
        let three = [one.as_fd(); 3];
        assert!(attached.push(SendAncillaryMessage::ScmRights(&three)));
        let message = [&[9, 0, 0, 0, 3][..], &[0; 8]].concat();
        sendmsg(&daemon, &[IoSlice::new(&message)], &mut attached, SendFlags::NOSIGNAL).unwrap();
        assert!(matches!(receive(&spawner), Err(Received::Garbage(_))));
        drop((one, daemon, spawner));
        assert_eq!((&other).read(&mut [0]).unwrap(), 0, "nobody holds it any more");
    }
}
