//! A federation's runs, in a list.

use params::Digest;
use serde::Serialize;

use crate::RunState;

/// One run of a federation at one moment, as it stands in the list of all. As JSON it is what `folkmoot runs list --json` prints.
///
/// # Privacy
/// Names, counts and what silos say to everybody; nothing that depends on one silo's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunEntry {
    /// Its random name, in hexadecimal.
    pub run: Digest,
    /// Its number in the federation, from 1: the order in which runs were submitted, which is the queue's.
    pub number: u32,
    /// The plan's name for people.
    pub name: String,
    /// Who signed the plan: the public key, as a policy names it.
    pub author: String,
    pub state: RunState,
    /// Why it is in this state, in words: what it waits for, by whom and why it was paused or stopped, how it ended.
    pub reason: String,
    /// In the queue, from 1; absent unless it is queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    pub rounds_committed: u64,
    /// Rounds the plan asks for.
    pub rounds_planned: u64,
    /// When its plan was submitted, in milliseconds since the Unix epoch.
    pub submitted_ms: u64,
    /// Who submitted it: an operator's name; empty where it came with the coordinator's configuration.
    pub submitted_by: String,
    /// Of a run that waits: since when, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Of a run that waits: when it is over unless what it waits for comes before, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

impl RunEntry {
    /// Who submitted it, in words.
    pub fn submitter(&self) -> &str {
        if self.submitted_by.is_empty() { "the coordinator's configuration" } else { &self.submitted_by }
    }
}

#[cfg(test)]
mod tests {
    use crate::samples;

    #[test]
    fn the_json_of_an_entry_has_the_names_that_scripts_read_and_a_position_in_the_queue_alone() {
        let printed = concat!(
            r#"{"run":"acba25512100f80b56fc3ccd14c65be55d94800cda77585c5f41a887e398f9be","number":67,"name":"digits","#,
            r#""author":"ada","state":"queued","reason":"2 runs go before it","position":2,"rounds_committed":71,"#,
            r#""rounds_planned":73,"submitted_ms":7900,"submitted_by":"ben","since_ms":8300,"until_ms":8900}"#,
        );
        let mut entry = samples::run_entry();
        assert_eq!(serde_json::to_string(&entry).unwrap(), printed);
        (entry.position, entry.since_ms, entry.until_ms) = (None, None, None);
        let without = serde_json::to_value(&entry).unwrap();
        assert!(["position", "since_ms", "until_ms"].iter().all(|name| without.get(name).is_none()));
    }
}
