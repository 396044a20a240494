//! What stands between a client and its coordinator: addresses that are silent, and a proxy.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use pki::{Outgoing, Resolver};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// By way of a name server that gives every name these addresses.
pub fn resolving(outgoing: Outgoing, addresses: &[SocketAddr]) -> Outgoing {
    let addresses = addresses.to_vec();
    let resolver: Resolver = Arc::new(move |_, _| {
        let addresses = addresses.clone();
        Box::pin(async move { Ok(addresses) })
    });
    outgoing.resolving(resolver)
}

/// An address that takes no connection and refuses none: nobody accepts, and the listener's queue is full.
pub struct Silent {
    pub address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
    _knocking: JoinSet<std::io::Result<TcpStream>>,
}

impl Silent {
    pub async fn bind(address: &str) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }.unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut knocking = JoinSet::new();
        for _ in 0..8 {
            knocking.spawn(TcpStream::connect(address));
        }
        // A queue of one holds two.
        let mut waiting = Vec::new();
        for _ in 0..2 {
            waiting.push(knocking.join_next().await.unwrap().unwrap().unwrap());
        }
        Self { address, _listener: listener, _waiting: waiting, _knocking: knocking }
    }
}

/// An HTTP proxy that does CONNECT, or answers everything with one text.
pub struct ConnectProxy {
    pub address: SocketAddr,
    /// The heads of the requests.
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl ConnectProxy {
    pub async fn start() -> Self {
        Self::answering(None).await
    }

    pub async fn answering(answer: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer, Arc::clone(&heard)));
            }
        });
        Self { address, asked }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn serve(mut stream: TcpStream, answer: Option<&str>, asked: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let to = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    asked.lock().unwrap().push(head);
    if let Some(answer) = answer {
        let _ = stream.write_all(answer.as_bytes()).await;
        return;
    }
    let Ok(mut server) = TcpStream::connect(to).await else {
        let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
        return;
    };
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    let _ = copy_bidirectional(&mut stream, &mut server).await;
}
