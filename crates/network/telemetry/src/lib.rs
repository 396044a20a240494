//! Logs and metrics, set up in one place.
//!
//! Owns: how log lines look and which are written ([`init`]), and the name and help text of every metric
//! ([`Metrics`], [`alarms()`]). Does not: serve the metrics over a network, or decide what is worth logging. Whoever logs
//! keeps seeds, shares and vectors out of it.
//!
//! ```
//! let metrics = telemetry::Metrics::new();
//! metrics.of_run("wards").rounds_committed.inc();
//! assert!(metrics.encode().contains("folkmoot_rounds_committed_total{run=\"wards\"} 1"));
//! ```

mod metrics;

pub use metrics::{Metrics, ROUND_SECONDS_BUCKETS, RunMetrics, alarms};

use std::io::IsTerminal;

use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// The environment variable that overrides the configured log filter.
pub const LOG_VARIABLE: &str = "FOLKMOOT_LOG";

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter is not one.
    #[error("{origin} `{filter}` is not a log filter; write a level such as `info`, or `info,client=debug`")]
    Filter {
        /// Where it came from.
        origin: &'static str,
        /// As it was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The process logs already.
    #[error("logging is set up already")]
    Twice(#[source] TryInitError),
}

/// Writes log lines to standard error from here on: for people, or one JSON object a line.
///
/// `filter` is a level (`info`) or directives (`info,client=debug`); [`LOG_VARIABLE`] overrides it.
///
/// # Errors
/// [`InitError::Filter`] where the filter does not parse, instead of logging less than was asked for;
/// [`InitError::Twice`] on a second call.
pub fn init(filter: &str, json: bool) -> Result<(), InitError> {
    let filter = choose(filter, std::env::var(LOG_VARIABLE).ok())?;
    let registry = tracing_subscriber::registry().with(filter);
    // Colours are for people: in a file or a journal they would be noise.
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    // Else a line that cannot be written is reported on standard error, which panics where that is a closed pipe.
    let lines = lines.log_internal_errors(false);
    if json {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        registry.with(lines).try_init()
    }
    .map_err(InitError::Twice)
}

fn choose(configured: &str, variable: Option<String>) -> Result<EnvFilter, InitError> {
    let (origin, text) = match variable.filter(|text| !text.is_empty()) {
        Some(text) => (LOG_VARIABLE, text),
        None => ("the configured log filter", configured.to_owned()),
    };
    EnvFilter::builder().parse(&text).map_err(|source| InitError::Filter { origin, filter: text, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_overrides_the_configuration_unless_empty() {
        let chosen =
            |variable: Option<&str>| choose("info", variable.map(str::to_owned)).unwrap().to_string();
        assert_eq!(chosen(None), "info");
        assert_eq!(chosen(Some("")), "info");
        assert_eq!(chosen(Some("wire=trace")), "wire=trace");
    }

    #[test]
    fn a_wrong_filter_is_refused_and_named_with_its_origin() {
        let configured = choose("info,=,", None).unwrap_err().to_string();
        assert!(configured.starts_with("the configured log filter `info,=,`"), "{configured}");
        let variable = choose("info", Some("client=loud".into())).unwrap_err().to_string();
        assert!(variable.starts_with("FOLKMOOT_LOG `client=loud`"), "{variable}");
    }

    #[test]
    fn logging_is_set_up_once() {
        init("off", true).unwrap();
        assert!(matches!(init("off", false), Err(InitError::Twice(_))));
    }
}
