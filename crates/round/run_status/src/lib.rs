//! What an operator sees of a run: always why it waits, for whom and until when.
//!
//! Owns: the one declaration of a status ([`Status`], and with what its server knows of itself [`Shown`]) and of a run in a
//! federation's list ([`RunEntry`]), and the words that both are written in ([`RunPhase`], [`Standing`], [`Owed`], [`Ending`],
//! [`RunState`]). As JSON they are what `folkmoot status --json` and `folkmoot runs list --json` print. Does not: decide anything
//! about a run; the core fills them, `wire` sends them and reads them back, and screens put them into sentences.
//!
//! ```
//! use run_status::Standing;
//! assert_eq!(Standing::of("left out"), Standing::LeftOut);
//! assert_eq!(serde_json::to_string(&Standing::LeftOut).unwrap(), "\"left out\"");
//! assert_eq!(Standing::of("a word of a later release"), Standing::Unknown);
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod entry;
mod past;
mod reasons;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
mod text;
mod watching;
mod words;

use std::collections::BTreeMap;

use checkpoint::PrivacySpent;
use identity::printable;
use params::Digest;
use secagg::ClientId;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

pub use entry::RunEntry;
pub use past::past;
pub use reasons::{ReasonMoment, Reasons, with_names};
pub use text::{render, render_run, render_runs};
pub use watching::{Happening, Named, News, NotIncluded, Owing, Watching};
pub use words::{Ending, Owed, RunPhase, RunState, Standing};

/// A run at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    pub run_id: Digest,
    /// The plan's name for people.
    pub run_name: String,
    pub plan: Digest,
    /// Rounds the plan asks for.
    pub rounds_planned: u64,
    pub rounds_committed: u64,
    /// Rounds given up: none of their attempts came to a result, and none follows.
    pub rounds_aborted: u64,
    /// Attempts aborted, those too after which their round was tried again. A coordinator of the first release counts none.
    pub attempts_aborted: Option<u64>,
    /// The round in progress, or the last one.
    pub round: u64,
    /// The attempt in it.
    pub attempt: u32,
    pub phase: RunPhase,
    /// When the step must be over, or a wait for willing silos is, in milliseconds since the Unix epoch.
    pub deadline_ms: Option<u64>,
    /// Who is waited for, and for what.
    pub waiting_for: Vec<Waiting>,
    /// In words: why nothing happens at this moment.
    pub waiting_why: String,
    /// What operators have done that still matters, in words: who paused the run and why, which models are quarantined.
    /// In `waiting_why` too. A coordinator of the first release sends none apart.
    pub notices: Vec<String>,
    pub clients: Vec<ClientStatus>,
    /// Clients left out of committed rounds so far, counted once a round.
    pub dropouts: u64,
    /// What has been spent.
    pub privacy: PrivacySpent,
    /// Plan's budget less what is spent; `None` without noise.
    pub epsilon_left: Option<f64>,
    /// Digest of the newest checkpoint's record.
    pub head: Option<Digest>,
    /// The newest model.
    pub model: Option<Digest>,
    /// Round of the newest checkpoint.
    pub head_round: u64,
    /// Metrics of the newest checkpoint.
    pub metrics: BTreeMap<String, f64>,
    /// How the last round ended.
    pub last_outcome: String,
    /// Why the run is over, once it is. As JSON `ended` is its sentence and `ending` its word.
    #[serde(flatten, serialize_with = "sentence_and_word")]
    pub ended: Option<Ended>,
}

impl Status {
    /// A member as people name it: its number and its name, `1 north`; the number alone of one that is not on the roster any more.
    /// Nothing in it drives a terminal.
    pub fn label(&self, client: ClientId) -> String {
        match self.clients.iter().find(|one| one.id == client) {
            Some(one) => format!("{client} {}", printable(&one.name)),
            None => client.to_string(),
        }
    }
}

impl Status {
    /// Says which silos are connected: to the federation, whichever of its runs they are offered, and also where the run is over.
    pub fn show_links(&mut self, is_connected: impl Fn(ClientId) -> bool) {
        for silo in &mut self.clients {
            silo.connected = is_connected(silo.id);
            silo.state = match (silo.state, silo.connected) {
                (Standing::NotConnected, true) => Standing::Connected,
                (Standing::Connected | Standing::CheckedIn, false) => Standing::NotConnected,
                (state, _) => state,
            };
        }
    }
}

/// A client that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Waiting {
    pub client: ClientId,
    /// What it owes.
    pub what: Owed,
}

/// One member at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClientStatus {
    pub id: ClientId,
    /// Its name on the roster.
    pub name: String,
    /// Whether its connection stands.
    pub connected: bool,
    /// What it is doing.
    pub state: Standing,
    /// The last thing that went wrong with it and is not over.
    pub last_reason: String,
    /// When that was; a coordinator of an earlier release does not say it.
    #[serde(flatten)]
    pub reason_moment: Option<ReasonMoment>,
    /// Rounds whose sum holds its update.
    pub rounds_included: u64,
    /// Rounds it was left out of.
    pub rounds_left_out: u64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// A word that programs act on.
    pub how: Ending,
    /// A sentence for whoever reads it.
    pub why: String,
}

fn sentence_and_word<S: Serializer>(ended: &Option<Ended>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut fields = serializer.serialize_struct("Ended", 2)?;
    fields.serialize_field("ended", &ended.as_ref().map(|ended| &ended.why))?;
    fields.serialize_field("ending", &ended.as_ref().map(|ended| ended.how))?;
    fields.end()
}

/// What a coordinator's server knows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Server {
    /// Of uploads, since it started.
    pub bytes_received: u64,
    /// Of models, since it started.
    pub bytes_sent: u64,
    pub server_version: String,
    /// Its clock, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// When it started, likewise.
    pub started_ms: u64,
}

/// The run and its server at one moment, as an operator is shown them.
///
/// # Privacy
/// Names, counts, reasons and what has been spent; nothing that depends on one client's data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    #[serde(flatten)]
    pub run: Status,
    #[serde(flatten)]
    pub server: Server,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_numbers_of_the_sample_are_alike_so_that_a_mix_up_shows() {
        fn numbers(value: &serde_json::Value, all: &mut Vec<String>) {
            match value {
                serde_json::Value::Number(number) => all.push(number.to_string()),
                serde_json::Value::Array(values) => values.iter().for_each(|value| numbers(value, all)),
                serde_json::Value::Object(fields) => fields.values().for_each(|value| numbers(value, all)),
                _ => {}
            }
        }
        let mut all = Vec::new();
        numbers(&serde_json::to_value(samples::shown()).unwrap(), &mut all);
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len(), "{all:?}");
    }

    #[test]
    fn the_json_is_what_scripts_have_read_since_the_first_release() {
        let printed = concat!(
            r#"{"attempt":2,"attempts_aborted":11,"bytes_received":59,"bytes_sent":61,"#,
            r#""clients":[{"connected":true,"id":7,"last_reason":"was too late","name":"north","#,
            r#""reason_attempt":6,"reason_ms":1300,"reason_round":31,"rounds_included":17,"rounds_left_out":5,"state":"awaited"}],"deadline_ms":4500,"dropouts":47,"#,
            r#""ended":"all rounds","ending":"complete","epsilon_left":3.4,"#,
            r#""head":"9f2e6d33a3717ee826353a404ba4618d1aeeb6879ad7936bce8ed5f46814924d","head_round":36,"#,
            r#""last_outcome":"committed","metrics":{"loss":0.25},"#,
            r#""model":"9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4","notices":["paused"],"now_ms":2000,"#,
            r#""phase":"masked input","#,
            r#""plan":"64879f7d6b960a01909762d911a32d4582c20010c5641ee90278b644a9e3b525","#,
            r#""privacy":{"accountant":"rdp","delta":1e-6,"epsilon":1.5,"mode":"distributed_dp_sgd","#,
            r#""noise_by":"every silo","relation":"add or remove one record","steps":13,"#,
            r#""trust":"one colluder","unit":"record"},"round":37,"rounds_aborted":3,"rounds_committed":19,"#,
            r#""rounds_planned":23,"#,
            r#""run_id":"acba25512100f80b56fc3ccd14c65be55d94800cda77585c5f41a887e398f9be","#,
            r#""run_name":"digits","server_version":"0.1.0","started_ms":1000,"waiting_for":[{"client":9,"#,
            r#""what":"a masked vector"}],"waiting_why":"1 silos owe a masked vector"}"#,
        );
        // In the order of the names.
        let value = serde_json::to_value(samples::shown()).unwrap();
        assert_eq!(value.to_string(), printed);
    }
}
