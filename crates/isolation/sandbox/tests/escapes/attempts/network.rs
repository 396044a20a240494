use std::io::{self, IoSlice, IoSliceMut, stdin};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use nix::mqueue::{MQ_OFlag, MqAttr, mq_open, mq_unlink};
use nix::sys::stat::Mode;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketType, recvmsg, sendmsg, socket,
};

use super::{Attempt, attempt};

pub(super) const ALL: &[Attempt] = &[
    attempt("connect by TCP", |place| TcpStream::connect(("127.0.0.1", place.tcp)).map(drop)),
    attempt("listen by TCP", |_| TcpListener::bind("127.0.0.1:0").map(drop)),
    attempt("send by UDP", |place| {
        UdpSocket::bind("127.0.0.1:0")?.send_to(b"a row", ("127.0.0.1", place.udp)).map(drop)
    }),
    attempt("connect to a named Unix socket", |place| UnixStream::connect(place.socket()).map(drop)),
    attempt("connect to an abstract Unix socket", |place| {
        UnixStream::connect_addr(&place.abstract_socket()?).map(drop)
    }),
    attempt("resolve a name", |_| {
        // Libraries differ in whether they pass on why.
        let none = |_| io::Error::other("no answer");
        ("localhost", 80).to_socket_addrs().map(drop).map_err(none)
    }),
    attempt("open a netlink socket", |_| open(AddressFamily::NETLINK, SocketType::RAW)),
    attempt("open a packet socket", |_| open(AddressFamily::PACKET, SocketType::RAW)),
    attempt("open a socket pair", |_| UnixStream::pair().map(drop)),
    attempt("send a descriptor to the parent", |_| {
        let stdin = stdin();
        let sent = [stdin.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&sent)));
        sendmsg(&stdin, &[IoSlice::new(b"!")], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }),
    attempt("receive a descriptor from the parent", |_| {
        let mut byte = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        recvmsg(stdin(), &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::DONTWAIT)?;
        Ok(())
    }),
    attempt("open a message queue", |_| {
        let name = std::ffi::CString::new(format!("/sandbox-{}", std::process::id()))?;
        let small = MqAttr::new(0, 1, 64, 0);
        mq_open(name.as_c_str(), MQ_OFlag::O_CREAT | MQ_OFlag::O_RDWR, Mode::S_IRUSR, Some(&small))?;
        Ok(mq_unlink(name.as_c_str())?)
    }),
];

fn open(family: AddressFamily, kind: SocketType) -> io::Result<()> {
    socket(family, kind, None)?;
    Ok(())
}
