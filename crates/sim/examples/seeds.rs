#![allow(clippy::print_stdout, missing_docs)]
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (from, to): (u64, u64) = (args[1].parse().unwrap(), args[2].parse().unwrap());
    let traced = args.len() > 3;
    let (mut committed, mut aborted, mut bad) = (0, 0, 0);
    let started = std::time::Instant::now();
    for seed in from..to {
        let scenario = sim::Scenario::of_seed(seed);
        let report = std::panic::catch_unwind(|| scenario.run(traced));
        let Ok(report) = report else { println!("PANIC {scenario}"); bad += 1; continue };
        committed += report.rounds_committed;
        aborted += report.rounds_aborted;
        for row in &report.trace { println!("{row}"); }
        if let Some(v) = report.violation { println!("{scenario}: {v}"); bad += 1; }
    }
    println!("{} seeds, {committed} committed, {aborted} aborted, {bad} bad, {:?}", to - from, started.elapsed());
}
