//! Every metric of Folkmoot: its name, its help text, its type. There is no other place to add one.

use std::fmt;
use std::sync::atomic::AtomicU64;

use alarms::AlarmCount;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// Bounds of the round-time histogram's buckets, from a demonstration's second to a slow silo's day.
///
/// # Units
/// Seconds.
pub const ROUND_SECONDS_BUCKETS: [f64; 12] =
    [0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0];

/// What a coordinator counts. Clones of a field count into the same metric.
///
/// # Privacy
/// Only what the coordinator's operator may see anyway: no metric is about one client.
pub struct Metrics {
    /// Clients whose connection stands.
    pub clients_connected: Gauge,
    /// Bytes of uploads received, resent ones included.
    pub bytes_received: Counter,
    /// Bytes of models sent.
    pub bytes_sent: Counter,
    /// Calls that the audit log only counts.
    pub calls_left_out: Counter,
    connections_turned: Family<WhyLabel, Counter>,
    upload_rejections: Family<ReasonLabel, Counter>,
    rounds_committed: Family<RunLabel, Counter>,
    rounds_aborted: Family<RunLabel, Counter>,
    round_seconds: Family<RunLabel, Histogram, fn() -> Histogram>,
    epsilon_spent: Family<RunLabel, Gauge<f64, AtomicU64>>,
    phase: Family<PhaseLabel, Gauge>,
    registry: Registry,
}

/// What a coordinator counts of one run; every sample carries the run's label.
pub struct RunMetrics {
    /// Rounds that ended in a checkpoint.
    pub rounds_committed: Counter,
    /// Attempts that ended without a result.
    pub rounds_aborted: Counter,
    /// From an attempt's opening to its checkpoint, in seconds.
    pub round_seconds: Histogram,
    /// What the privacy accountant has spent.
    pub epsilon_spent: Gauge<f64, AtomicU64>,
    phase: Family<PhaseLabel, Gauge>,
    run: String,
    /// The one that is shown.
    now: Option<&'static str>,
}

impl RunMetrics {
    /// The run has moved to `phase`: its gauge is 1, and no other of the run has a sample.
    pub fn enter_phase(&mut self, phase: &'static str) {
        if let Some(before) = self.now.replace(phase).filter(|before| *before != phase) {
            self.phase.remove(&PhaseLabel { run: self.run.clone(), phase: before });
        }
        self.phase.get_or_create(&PhaseLabel { run: self.run.clone(), phase }).set(1);
    }
}

impl Metrics {
    /// Every metric, at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("folkmoot");
        let r = &mut registry;
        // Counters are exposed with `_total` behind their name; the format demands it.
        let rounds_committed =
            add(r, "rounds_committed", "Rounds that ended in a checkpoint", Family::default());
        let rounds_aborted =
            add(r, "rounds_aborted", "Attempts at a round that ended without a result", Family::default());
        let round_seconds = add(
            r,
            "round_seconds",
            "Seconds from the opening of an attempt to its checkpoint",
            Family::new_with_constructor((|| Histogram::new(ROUND_SECONDS_BUCKETS)) as fn() -> Histogram),
        );
        let phase = add(r, "phase", "1 for the phase that a run is in", Family::default());
        let clients_connected =
            add(r, "clients_connected", "Clients whose connection stands", Gauge::default());
        let bytes_received = add(
            r,
            "received_bytes",
            "Bytes of masked vectors received, resent ones included",
            Counter::default(),
        );
        let bytes_sent = add(r, "sent_bytes", "Bytes of models sent to clients", Counter::default());
        let epsilon_spent =
            add(r, "epsilon_spent", "Epsilon spent so far, at the delta of the plan", Family::default());
        let upload_rejections = add(
            r,
            "upload_rejections",
            "Uploads refused, by the reason code sent to the client",
            Family::default(),
        );
        let calls_left_out = add(
            r,
            "calls_left_out",
            "Refused calls and calls of strangers that the audit log only counts",
            Counter::default(),
        );
        let connections_turned = add(
            r,
            "connections_turned",
            "Connections that came to nothing: hung up, gave way to others, late, refused",
            Family::default(),
        );
        Self {
            calls_left_out,
            connections_turned,
            rounds_committed,
            rounds_aborted,
            round_seconds,
            clients_connected,
            bytes_received,
            bytes_sent,
            epsilon_spent,
            upload_rejections,
            phase,
            registry,
        }
    }

    /// The metrics of one run, at zero at first. `run` is its label: for people, and one run's alone.
    pub fn of_run(&self, run: &str) -> RunMetrics {
        let label = RunLabel { run: run.to_owned() };
        RunMetrics {
            rounds_committed: self.rounds_committed.get_or_create_owned(&label),
            rounds_aborted: self.rounds_aborted.get_or_create_owned(&label),
            round_seconds: self.round_seconds.get_or_create_owned(&label),
            epsilon_spent: self.epsilon_spent.get_or_create_owned(&label),
            phase: self.phase.clone(),
            run: run.to_owned(),
            now: None,
        }
    }

    /// A connection came to nothing.
    pub fn turn_connection(&self, why: &'static str) {
        self.connections_turned.get_or_create(&WhyLabel { why }).inc();
    }

    /// An upload was refused with this reason code.
    pub fn reject_upload(&self, reason: &'static str) {
        self.upload_rejections.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// The OpenMetrics text of every metric.
    pub fn encode(&self) -> String {
        encode(&self.registry)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The OpenMetrics text of a silo's alarms, and of whether its configuration parses, for a collector that reads files: a silo listens
/// nowhere.
///
/// # Privacy
/// For the silo's own operator alone: that something is wrong with the data is a fact about the data.
pub fn alarms(kinds: &[AlarmCount], parses: bool) -> String {
    let mut registry = Registry::with_prefix("folkmoot_silo");
    let r = &mut registry;
    let times: Family<KindLabel, Counter> =
        add(r, "alarms", "Alarms since they were taken back", Family::default());
    let last: Family<KindLabel, Gauge> =
        add(r, "alarm_last_seconds", "Unix time of the last alarm", Family::default());
    let in_a_row: Gauge = add(
        r,
        "trainings_failed_in_a_row",
        "Trainings that failed, since the last that did not",
        Gauge::default(),
    );
    let configuration: Gauge =
        add(r, "configuration_parses", "Whether the silo's configuration parses", Gauge::default());
    configuration.set(i64::from(parses));
    for AlarmCount { kind, times: so_many, last_unix_s, in_a_row: row } in kinds {
        times.get_or_create(&KindLabel { kind }).inc_by(*so_many);
        last.get_or_create(&KindLabel { kind }).set(i64::try_from(*last_unix_s).unwrap_or(i64::MAX));
        in_a_row.inc_by(i64::try_from(*row).unwrap_or(i64::MAX));
    }
    encode(&registry)
}

fn encode(registry: &Registry) -> String {
    let mut out = String::new();
    match text::encode(&mut out, registry) {
        Ok(()) => out,
        // Writing to a `String` does not fail.
        Err(fmt::Error) => String::from("# EOF\n"),
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    run: String,
    phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabel {
    run: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhyLabel {
    why: &'static str,
}

fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const RUN: &str = "heart 0a1b2c";

    /// Every metric with at least one sample.
    fn busy() -> Metrics {
        let metrics = Metrics::new();
        let mut run = metrics.of_run(RUN);
        run.rounds_committed.inc();
        run.round_seconds.observe(3.0);
        run.enter_phase("advertise");
        run.epsilon_spent.set(0.25);
        metrics.reject_upload("STALE_ATTEMPT");
        metrics.bytes_received.inc_by(17);
        metrics.turn_connection("gave_way");
        metrics
    }

    #[test]
    fn names_are_unique_prefixed_and_explained() {
        let text = busy().encode();
        let names: Vec<&str> = text
            .lines()
            .filter_map(|l| l.strip_prefix("# TYPE "))
            .filter_map(|l| l.split(' ').next())
            .collect();
        assert_eq!(names.len(), 11, "{text}");
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        for name in names {
            assert!(name.starts_with("folkmoot_"), "{name}");
            let help = text.lines().find_map(|l| l.strip_prefix(&format!("# HELP {name} ")));
            assert!(help.is_some_and(|h| h.len() > 10), "{name} has no help text");
        }
    }

    #[test]
    fn every_line_is_a_comment_or_a_sample_with_a_number() {
        let text = busy().encode();
        assert!(text.ends_with("# EOF\n"), "{text}");
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').expect(line);
            assert!(name.starts_with("folkmoot_"), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert_eq!(name.contains('{'), name.ends_with('}'), "{line}");
        }
        for sample in [
            "folkmoot_rounds_committed_total{run=\"heart 0a1b2c\"} 1",
            "folkmoot_epsilon_spent{run=\"heart 0a1b2c\"} 0.25",
            "folkmoot_received_bytes_total 17",
            "folkmoot_upload_rejections_total{reason=\"STALE_ATTEMPT\"} 1",
            "folkmoot_round_seconds_bucket{le=\"5.0\",run=\"heart 0a1b2c\"} 1",
            "folkmoot_round_seconds_bucket{le=\"2.0\",run=\"heart 0a1b2c\"} 0",
        ] {
            assert!(text.lines().any(|l| l == sample), "{sample} is not in\n{text}");
        }
    }

    #[test]
    fn each_run_is_counted_by_itself_and_shows_one_phase_at_a_time() {
        let metrics = Metrics::new();
        let (mut one, mut other) = (metrics.of_run(RUN), metrics.of_run("lungs 3d4e5f"));
        one.enter_phase("advertise");
        other.enter_phase("advertise");
        one.enter_phase("share keys");
        other.rounds_committed.inc_by(2);
        let text = metrics.encode();
        let sample = |name: &str| {
            let mut found: Vec<&str> = text.lines().filter(|line| line.starts_with(name)).collect();
            found.sort_unstable();
            found
        };
        assert_eq!(
            sample("folkmoot_phase{"),
            [
                "folkmoot_phase{run=\"heart 0a1b2c\",phase=\"share keys\"} 1",
                "folkmoot_phase{run=\"lungs 3d4e5f\",phase=\"advertise\"} 1"
            ]
        );
        assert_eq!(
            sample("folkmoot_rounds_committed_total{"),
            [
                "folkmoot_rounds_committed_total{run=\"heart 0a1b2c\"} 0",
                "folkmoot_rounds_committed_total{run=\"lungs 3d4e5f\"} 2"
            ]
        );
    }

    #[test]
    fn the_alarms_of_every_kind_are_counted_and_failures_in_a_row_are_one_number() {
        let metric = |kind, times, in_a_row| AlarmCount { kind, times, last_unix_s: times + 1, in_a_row };
        let text = alarms(&[metric("training", 4, 3), metric("data", 0, 0)], true);
        for sample in [
            "folkmoot_silo_alarms_total{kind=\"training\"} 4",
            "folkmoot_silo_alarms_total{kind=\"data\"} 0",
            "folkmoot_silo_alarm_last_seconds{kind=\"training\"} 5",
            "folkmoot_silo_trainings_failed_in_a_row 3",
            "folkmoot_silo_configuration_parses 1",
        ] {
            assert!(text.lines().any(|line| line == sample), "{sample} is not in\n{text}");
        }
    }
}
