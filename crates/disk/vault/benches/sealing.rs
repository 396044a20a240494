//! What sealing costs on one core: bytes of plaintext per second.

use std::time::Instant;

use vault::{MasterSource, Vault, make_master};

const BYTES: usize = 64 << 20;

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let master = folder.path().join("master.key");
    make_master(&master).expect("a master key");
    let vault = Vault::create(folder.path(), MasterSource::File(master)).expect("a vault");
    let plain: Vec<u8> = (0..BYTES).map(|i| i as u8).collect();
    let sealed = vault.seal_file(b"here", &plain).expect("sealed");
    let record = &plain[..1000];
    report("a file is sealed", BYTES, || vault.seal_file(b"here", &plain).expect("sealed").len());
    report("a file is opened", BYTES, || vault.open_file(b"here", &sealed).expect("opened").len());
    report("records of 1,000 bytes are sealed", 10_000 * record.len(), || {
        (0..10_000).map(|_| vault.seal(b"here", record).expect("sealed").len()).sum()
    });
}

#[expect(clippy::print_stdout, reason = "a benchmark reports")]
fn report(what: &str, bytes: usize, act: impl Fn() -> usize) {
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        assert!(std::hint::black_box(act()) > 0);
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{what}: {:.0} MB/s", bytes as f64 / best / 1e6);
}
