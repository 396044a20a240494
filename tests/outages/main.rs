//! Networks and disks that fail in the middle of a round: real daemons' code, real sockets, real files.

mod federation;
mod proxy;
mod soak;
mod stopping;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use client::RunError;
use federation::{Federation, SILOS, all_finish, large_plan};
use proxy::{Fate, HEADERS, Moment, Proxy};
use store::{FaultyStore, InjectedFault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::block_in_place;

const CHUNK_BYTES: u64 = wire::limits::CHUNK_BYTES as u64;
/// Inside the third chunk.
const CUT_AFTER_BYTES: u64 = 600_000;
/// Sessions, adverts, shares, headers and frames: everything of a silo's that is no masked lane.
const OTHER_BYTES_MAX: u64 = 64 << 10;

/// Holds the network until the coordinator's disk has what was sent.
fn until(done: impl Fn() -> bool) {
    block_in_place(|| {
        while !done() {
            std::thread::yield_now();
        }
    });
}

fn everybody() -> Vec<u32> {
    (1..=SILOS).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_cut_off_in_the_middle_and_again_at_its_receipt_is_in_the_sum_once_and_sent_once() {
    let mut federation = Federation::start(large_plan(60_000)).await;
    let (_never, outage) = watch::channel(false);
    let data_dir = federation.data_dir();
    let rest_bytes = federation.vector_bytes() - 2 * CHUNK_BYTES;
    let cuts = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&cuts);
    let proxy = Proxy::start(federation.address, outage, move |moment| {
        match (counted.load(Ordering::SeqCst), moment) {
            (0, Moment::Up { sent }) if sent > CUT_AFTER_BYTES => {
                until(|| Federation::staged(&data_dir, 1).is_some_and(|bytes| bytes >= 2 * CHUNK_BYTES));
            }
            // The upload's answer, which is its receipt: the coordinator has all of it, and the silo does not hear so.
            (1, Moment::Down { kind: HEADERS, sent }) if sent >= rest_bytes => {}
            _ => return Fate::Pass,
        }
        counted.fetch_add(1, Ordering::SeqCst);
        Fate::Cut
    })
    .await;
    let address = |id| if id == 1 { proxy.address } else { federation.address };
    all_finish(everybody().into_iter().map(|id| federation.join(id, address(id))).collect()).await;
    assert_eq!(cuts.load(Ordering::SeqCst), 2, "the upload was not cut where it was to be");

    let vector_bytes = federation.vector_bytes();
    let (round, received_bytes) = federation.finish().await;
    assert_eq!((round.round, round.attempt, round.included), (1, 1, everybody()));
    assert_eq!(received_bytes, vector_bytes * u64::from(SILOS), "no chunk is taken in twice");
    let most = vector_bytes + CHUNK_BYTES + OTHER_BYTES_MAX;
    assert!((vector_bytes..most).contains(&proxy.sent_bytes()), "{} of {most}", proxy.sent_bytes());
    assert_eq!(federation.debits(1), 1);
}

/// What a coordinator's metrics say of one.
async fn metric(at: SocketAddr, name: &str) -> u64 {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_that_the_metrics_tell_are_those_that_went_over_the_wire_and_those_of_the_status() {
    let metrics = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut federation = Federation::start_telling(large_plan(60_000), Some(metrics)).await;
    all_finish(everybody().into_iter().map(|id| federation.join(id, federation.address)).collect()).await;
    let received = metric(metrics, "folkmoot_received_bytes_total").await;
    let sent = metric(metrics, "folkmoot_sent_bytes_total").await;
    let status = federation.status().await;
    assert_eq!(received, federation.vector_bytes() * u64::from(SILOS));
    let model = std::fs::metadata(federation.data_dir().join("checkpoints/000000/model.safetensors"));
    assert!(sent >= model.unwrap().len() * u64::from(SILOS), "{sent}: each silo fetched the first model");
    assert_eq!((status.bytes_received, status.bytes_sent), (received, sent));
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_whole_network_in_a_round_delays_it_and_loses_nobody() {
    let mut federation = Federation::start(large_plan(60_000)).await;
    let (cut, outage) = watch::channel(false);
    let cut = Arc::new(cut);
    let tries: Arc<Vec<AtomicU64>> = Arc::new(everybody().iter().map(|_| AtomicU64::new(0)).collect());
    let mut silos = Vec::new();
    let mut proxies = Vec::new();
    for id in everybody() {
        let (cut, tries) = (Arc::clone(&cut), Arc::clone(&tries));
        let proxy = Proxy::start(federation.address, outage.clone(), move |moment| {
            let tried_twice = || tries.iter().all(|tries| tries.load(Ordering::SeqCst) >= 2);
            match moment {
                // In the middle of the first upload the network goes down for all.
                Moment::Up { sent } if sent > CHUNK_BYTES && !tried_twice() => {
                    cut.send_replace(true);
                    Fate::Cut
                }
                // It comes back once every silo has tried twice in vain.
                Moment::Accepted if *cut.borrow() => {
                    tries[id as usize - 1].fetch_add(1, Ordering::SeqCst);
                    if tried_twice() {
                        cut.send_replace(false);
                    }
                    Fate::Cut
                }
                _ => Fate::Pass,
            }
        })
        .await;
        silos.push(federation.join(id, proxy.address));
        proxies.push(proxy);
    }
    all_finish(silos).await;
    assert!(tries.iter().all(|tries| tries.load(Ordering::SeqCst) >= 2), "{tries:?}");
    let (round, _) = federation.finish().await;
    assert_eq!((round.round, round.attempt, round.included), (1, 1, everybody()));
    assert!(round.previous_rounds_aborted.is_empty());
    for id in everybody() {
        assert_eq!(federation.debits(id), 1, "silo {id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stands_still_frees_its_vector_for_the_silo_that_comes_back() {
    let mut federation = Federation::start(large_plan(30_000)).await;
    let (_never, outage) = watch::channel(false);
    let data_dir = federation.data_dir();
    let cuts = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&cuts);
    let proxy = Proxy::start(federation.address, outage, move |moment| match moment {
        Moment::Up { sent } if sent > CUT_AFTER_BYTES && counted.load(Ordering::SeqCst) == 0 => {
            until(|| Federation::staged(&data_dir, 1).is_some_and(|bytes| bytes >= 2 * CHUNK_BYTES));
            counted.fetch_add(1, Ordering::SeqCst);
            Fate::Abandon
        }
        _ => Fate::Pass,
    })
    .await;
    let address = |id| if id == 1 { proxy.address } else { federation.address };
    all_finish(everybody().into_iter().map(|id| federation.join(id, address(id))).collect()).await;
    assert_eq!(cuts.load(Ordering::SeqCst), 1, "the upload was not cut where it was to be");
    let vector_bytes = federation.vector_bytes();
    let (round, received_bytes) = federation.finish().await;
    assert_eq!((round.attempt, round.included), (1, everybody()));
    assert_eq!(received_bytes, vector_bytes * u64::from(SILOS), "no chunk is taken in twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_append_of_a_silo_fails_it_ends_without_having_sent_what_was_not_debited() {
    const FAILS: u32 = 4;
    // Patient: a busy machine must not look like a silo that is gone.
    let mut plan = sim::plan(SILOS as usize, 1);
    plan.timing.round_deadline_ms = 60_000;
    plan.timing.minimum_wait_ms = 20_000;
    let mut failures = 0;
    for operation in 1.. {
        let mut federation = Federation::start(plan.clone()).await;
        let address = federation.address;
        let others = (1..FAILS).map(|id| federation.join(id, address)).collect();
        let faulty = move |store| Box::new(FaultyStore::new(store, operation, InjectedFault::Lost)) as Box<_>;
        let ended = federation.join_on(FAILS, address, faulty).await.unwrap();
        let failed = match ended {
            Ok(_) => false,
            Err(why) => {
                assert!(matches!(why, RunError::Append(_)), "{why}");
                assert_eq!(why.exit_code(), 1);
                assert!(why.to_string().contains("fix that and start again"), "{why}");
                true
            }
        };
        if failed {
            // Started again on a sound disk it goes on with the run, or hears that it is over.
            all_finish(vec![federation.join(FAILS, address)]).await;
        }
        all_finish(others).await;
        let debits = federation.debits(FAILS);
        let vector_bytes = federation.vector_bytes();
        let (round, received_bytes) = federation.finish().await;
        assert!(debits <= 1, "{debits} in write {operation}");
        assert!(received_bytes <= vector_bytes * (u64::from(FAILS) - 1 + debits as u64), "write {operation}");
        assert!(debits == 1 || !round.included.contains(&FAILS), "write {operation}");
        if !failed {
            assert_eq!(round.included, everybody(), "without a fault nobody is left out");
            break;
        }
        failures += 1;
    }
    assert!(failures >= 4, "joined, advertised, debited and unmasked at the least: {failures}");
}
