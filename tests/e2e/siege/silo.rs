//! One enrolled silo: it says everything that a silo can say, as fast as it can, and reads no model that it asked for.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use identity::IdentityKey;
use params::Digest;
use protocol::{Attempt, Decline, ToCoordinator};
use secagg::{Advert, ClientId};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use wire::v1::federation_client::FederationClient;
use wire::v1::models_client::ModelsClient;
use wire::{Challenge, v1};

use super::{MIB, assert_alive, by_hand, coordinator, folder_bytes, pace, resident_bytes, until};
use crate::{Running, demo, folkmoot, rejoin, role, status_until, stderr, text};

/// The one that floods; the others are enough for a round.
const FLOODS: u32 = 4;
const FETCHES: usize = 200;

struct Plain {
    folder: tempfile::TempDir,
}

impl Plain {
    /// A federation in plain text, of four, whose rounds need three, with this line of its plan replaced.
    fn prepare(hidden: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        demo(folder.path(), &["--clients", "4", "--rounds", "1", "--privacy", "none", "--keep"]);
        let plain = Self { folder };
        fs::remove_dir_all(plain.path("coordinator")).unwrap();
        let plan: String = fs::read_to_string(plain.path("plan.toml"))
            .unwrap()
            .lines()
            .map(|line| match (line.split_once(" = "), hidden) {
                (Some(("rounds", _)), _) => "rounds = 100000\n".into(),
                (Some(("minimum", value)), _) if !value.contains('.') => "minimum = 3\n".into(),
                (Some(("hidden", _)), Some(hidden)) => format!("hidden = {hidden}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        fs::write(plain.path("plan.toml"), plan).unwrap();
        fs::remove_file(plain.path("plan.json")).unwrap();
        let (plan, author, out) =
            (plain.path("plan.toml"), plain.path("author.key"), plain.path("plan.json"));
        let signed = folkmoot(&["plan", "sign", text(&plan), "--key", text(&author), "--out", text(&out)]);
        assert!(signed.status.success(), "{}", stderr(&signed));
        plain
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn silo(&self, id: u32, url: &str) -> Running {
        let config = rejoin(self.folder.path(), &format!("silo-{id}"), url);
        let changed: String = fs::read_to_string(&config)
            .unwrap()
            .lines()
            .map(|line| match line.split_once(" = ") {
                Some(("cohort_min", _)) => "cohort_min = 3\n".into(),
                Some(("repeats_without_dp", _)) => "repeats_without_dp = 100000\n".into(),
                _ => format!("{line}\n"),
            })
            .collect();
        fs::write(&config, changed).unwrap();
        Running(role("client", &config).spawn().unwrap())
    }

    fn key(&self, id: u32) -> IdentityKey {
        let hex = fs::read_to_string(self.path(&format!("silo-{id}/identity.key"))).unwrap();
        IdentityKey::from_secret_hex(hex.trim()).unwrap()
    }

    /// What of the coordinator's folder only grows.
    fn written(&self) -> u64 {
        let data = self.path("coordinator");
        let journal = fs::metadata(data.join("journal")).map_or(0, |journal| journal.len());
        journal + folder_bytes(&data.join("audit"))
    }
}

/// Every kind of message, in turn: mostly such as decode, some that end the session.
fn message(turn: u64, round: u64) -> v1::ClientEnvelope {
    use v1::client_envelope::Message;
    let at = Attempt { round, attempt: 1 };
    let policy =
        || Decline::Policy { code: "POLICY_EPSILON".into(), text: format!("{turn}{}", "x".repeat(900)) };
    let said = match turn % 8 {
        0 | 4 => ToCoordinator::CheckIn {
            head: None,
            data: Some(Digest::sha256(&turn.to_le_bytes())),
            sandbox: None,
        },
        1 | 5 => ToCoordinator::Declined { round: None, reason: policy() },
        2 => ToCoordinator::Declined { round: Some(round), reason: policy() },
        3 => {
            let advert = Advert {
                id: ClientId(FLOODS),
                ek_pub: [turn as u8; 32],
                mk_pub: [3; 32],
                commitment: [3; 32],
                noise: None,
                signature: [9; 64],
            };
            ToCoordinator::Advertise { at, advert }
        }
        6 if turn % 64 == 6 => {
            let message = match turn / 64 % 4 {
                0 => Message::ShareKeys(v1::ShareKeys::default()),
                1 => Message::Complain(v1::Complain::default()),
                2 => Message::Unmask(v1::Unmask::default()),
                _ => Message::SignIncluded(v1::SignIncluded::default()),
            };
            return v1::ClientEnvelope { message: Some(message), ..Default::default() };
        }
        _ => ToCoordinator::Declined { round: Some(round), reason: Decline::SitsOut },
    };
    said.into()
}

/// Sessions one after the other, each until it is closed; what comes is read, or the session would end for that.
async fn flood(
    channel: Channel,
    key: IdentityKey,
    coordinator: ed25519_dalek::VerifyingKey,
    said: Arc<AtomicU64>,
) {
    loop {
        let (outbox, outgoing) = mpsc::channel(64);
        let mut federation =
            FederationClient::new(channel.clone()).max_decoding_message_size(wire::limits::MESSAGE_BYTES_MAX);
        let Ok(opened) = federation.session(ReceiverStream::new(outgoing)).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let mut inbound = opened.into_inner();
        let Some(Ok(first)) = inbound.next().await else { continue };
        let challenge = Challenge::try_from(first).unwrap();
        let (hello, _) = challenge.answer(ClientId(FLOODS), key.signing_key(), &coordinator).unwrap();
        let _ = outbox.send(hello.into()).await;
        let speak = async {
            loop {
                let turn = said.fetch_add(1, Ordering::Relaxed);
                if outbox.send(message(turn, turn / 1000)).await.is_err() {
                    return;
                }
            }
        };
        let listen = async { while let Some(Ok(_)) = inbound.next().await {} };
        tokio::select! {
            () = speak => {}
            () = listen => {}
        }
    }
}

/// Models that are asked for on one connection and not read, again and again.
async fn fetch(channel: Channel, asked: Arc<AtomicU64>) {
    let mut unread = tokio::task::JoinSet::new();
    for _ in 0..FETCHES {
        let (channel, asked) = (channel.clone(), Arc::clone(&asked));
        unread.spawn(async move {
            loop {
                let request = v1::FetchModelRequest { round: Some(0), ..Default::default() };
                let response = ModelsClient::new(channel.clone()).fetch_model(request).await;
                asked.fetch_add(1, Ordering::Relaxed);
                match response {
                    Ok(_unread) => pace(Duration::from_secs(20)).await,
                    Err(_) => pace(Duration::from_millis(200)).await,
                }
            }
        });
    }
    unread.join_all().await;
}

fn channel(address: &str) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

fn committed(status: &Value) -> u64 {
    status["rounds_committed"].as_u64().unwrap()
}

/// Rounds in this time, and how much was written.
struct Measured {
    rounds: u64,
    written: u64,
    seconds: f64,
}

/// Waits until the attack was long enough, and three rounds were committed under it.
fn measure(plain: &Plain, url: &str, enough: impl Fn() -> bool) -> Measured {
    let first = committed(&status_until(url, |status| committed(status) >= 1));
    let (written, begun) = (plain.written(), Instant::now());
    let last = loop {
        let rounds = committed(&status_until(url, |_| true));
        std::thread::park_timeout(Duration::from_millis(100));
        if until(begun, || enough() && rounds >= first + 3) {
            break rounds;
        }
    };
    Measured {
        rounds: last - first,
        written: plain.written() - written,
        seconds: begun.elapsed().as_secs_f64(),
    }
}

#[test]
fn beside_a_silo_that_floods_and_reads_nothing_rounds_commit_and_neither_journal_nor_memory_is_its_to_fill() {
    let plain = Plain::prepare(None);
    let log = plain.path("siege.log");
    let (mut daemon, address) = coordinator(&plain.path("coordinator.toml"), &log);
    let url = format!("http://{address}");
    let _silos: Vec<Running> = (1..FLOODS).map(|id| plain.silo(id, &url)).collect();
    let coordinator_key = {
        let roster: Value = serde_json::from_slice(&fs::read(plain.path("roster.json")).unwrap()).unwrap();
        let roster: Value = serde_json::from_str(roster["roster"].as_str().unwrap()).unwrap();
        identity::parse_verifying_key(roster["coordinator_key"].as_str().unwrap()).unwrap()
    };
    let attack = |to: &str| {
        let (said, asked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let runtime = Runtime::new().unwrap();
        let entered = runtime.enter();
        runtime.spawn(flood(channel(to), plain.key(FLOODS), coordinator_key, Arc::clone(&said)));
        runtime.spawn(fetch(channel(to), Arc::clone(&asked)));
        drop(entered);
        (runtime, said, asked)
    };
    // The same flooder at a port where nobody listens.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (beside, ..) = attack(&dead);
    let calm = measure(&plain, &url, || true);
    beside.shutdown_background();
    let resident = resident_bytes(&daemon);
    let (attack, said, asked) = attack(&address);
    let loud = measure(&plain, &url, || {
        said.load(Ordering::Relaxed) >= 2_000 && asked.load(Ordering::Relaxed) >= FETCHES as u64
    });
    let grown = resident_bytes(&daemon).saturating_sub(resident);
    assert_alive(&mut daemon, &log);
    attack.shutdown_background();
    // What honest rounds write is not the flooder's.
    let honest = calm.written / calm.rounds.max(1) * loud.rounds;
    let its_own = loud.written.saturating_sub(honest);
    eprintln!(
        "siege: {} messages and {} fetches in {:.0} s: {} rounds, beside a dead port {} in {:.0} s; {} KiB written, {} of \
         them by the flood; {} MiB more",
        said.load(Ordering::Relaxed),
        asked.load(Ordering::Relaxed),
        loud.seconds,
        loud.rounds,
        calm.rounds,
        calm.seconds,
        loud.written / 1024,
        its_own / 1024,
        grown / MIB
    );
    let minutes = (loud.seconds / 60.0).max(1.0);
    assert!((its_own as f64) < MIB as f64 * minutes, "{its_own} bytes in {} s", loud.seconds);
    assert!(grown < 128 * MIB, "{} MiB more", grown / MIB);
}

#[test]
fn two_hundred_unread_models_cost_the_coordinator_no_more_memory_than_their_chunks() {
    // 64 MiB by hand.
    let hidden = if by_hand().is_some() { "[65536, 180]" } else { "[30000]" };
    let plain = Plain::prepare(Some(hidden));
    let log = plain.path("siege.log");
    let (mut daemon, address) = coordinator(&plain.path("coordinator.toml"), &log);
    let model = plain.path("coordinator/checkpoints/000000").join(checkpoint::MODEL_FILE);
    let bytes = fs::metadata(&model).unwrap().len();
    let resident = resident_bytes(&daemon);
    let asked = Arc::new(AtomicU64::new(0));
    let attack = Runtime::new().unwrap();
    let entered = attack.enter();
    attack.spawn(fetch(channel(&address), Arc::clone(&asked)));
    drop(entered);
    let (begun, mut most) = (Instant::now(), 0);
    while !until(begun, || asked.load(Ordering::Relaxed) >= 2 * FETCHES as u64) {
        most = most.max(resident_bytes(&daemon));
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert_alive(&mut daemon, &log);
    attack.shutdown_background();
    let grown = most.saturating_sub(resident);
    eprintln!(
        "siege: {} fetches of {} MiB, unread: {} MiB more",
        asked.load(Ordering::Relaxed),
        bytes / MIB,
        grown / MIB
    );
    assert!(grown < 128 * MIB, "{} MiB more", grown / MIB);
}
