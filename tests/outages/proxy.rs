//! A network that fails on cue: a TCP proxy before the coordinator, which a test tells when to cut.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// HTTP/2's frame that begins an answer.
pub(crate) const HEADERS: u8 = 1;

/// What just happened on a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Moment {
    /// A client has connected.
    Accepted,
    /// So many bytes have gone to the coordinator on this connection.
    Up { sent: u64 },
    /// A frame of this kind comes from the coordinator, after so many bytes to it.
    Down { kind: u8, sent: u64 },
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    /// Both sides see it end.
    Cut,
    /// The client sees it end; the coordinator sees silence, as when a cable is pulled.
    Abandon,
}

type Decide = dyn Fn(Moment) -> Fate + Send + Sync;

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    wires: Arc<Wires>,
}

struct Wires {
    decide: Box<Decide>,
    /// While true every connection is cut, and new ones are refused.
    outage: watch::Receiver<bool>,
    /// All bytes to the coordinator.
    sent: AtomicU64,
    abandoned: Mutex<Vec<(OwnedReadHalf, OwnedWriteHalf)>>,
}

impl Proxy {
    pub(crate) async fn start(
        to: SocketAddr,
        outage: watch::Receiver<bool>,
        decide: impl Fn(Moment) -> Fate + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let wires = Arc::new(Wires {
            decide: Box::new(decide),
            outage,
            sent: AtomicU64::new(0),
            abandoned: Mutex::default(),
        });
        let shared = Arc::clone(&wires);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if (shared.decide)(Moment::Accepted) == Fate::Pass && !*shared.outage.borrow() {
                    tokio::spawn(connect(client, to, Arc::clone(&shared)));
                }
            }
        });
        Self { address, wires }
    }

    pub(crate) fn sent_bytes(&self) -> u64 {
        self.wires.sent.load(Ordering::SeqCst)
    }
}

async fn connect(client: TcpStream, to: SocketAddr, wires: Arc<Wires>) {
    let Ok(server) = TcpStream::connect(to).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let sent = AtomicU64::new(0);
    let mut outage = wires.outage.clone();
    let fate = tokio::select! {
        fate = up(&mut from_client, &mut to_server, &sent, &wires) => fate,
        fate = down(&mut from_server, &mut to_client, &sent, &wires) => fate,
        _ = outage.wait_for(|out| *out) => Fate::Cut,
    };
    if fate == Fate::Abandon {
        wires.abandoned.lock().unwrap().push((from_server, to_server));
    }
}

async fn up(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, sent: &AtomicU64, wires: &Wires) -> Fate {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        if read == 0 || to.write_all(&bytes[..read]).await.is_err() {
            return Fate::Cut;
        }
        wires.sent.fetch_add(read as u64, Ordering::SeqCst);
        let sent = sent.fetch_add(read as u64, Ordering::SeqCst) + read as u64;
        let fate = (wires.decide)(Moment::Up { sent });
        if fate != Fate::Pass {
            return fate;
        }
    }
}

/// Frame by frame, so that an answer can be lost whole.
async fn down(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, sent: &AtomicU64, wires: &Wires) -> Fate {
    loop {
        let mut head = [0; 9];
        if from.read_exact(&mut head).await.is_err() {
            return Fate::Cut;
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if from.read_exact(&mut payload).await.is_err() {
            return Fate::Cut;
        }
        let fate = (wires.decide)(Moment::Down { kind: head[3], sent: sent.load(Ordering::SeqCst) });
        if fate != Fate::Pass {
            return fate;
        }
        if to.write_all(&head).await.is_err() || to.write_all(&payload).await.is_err() {
            return Fate::Cut;
        }
    }
}
