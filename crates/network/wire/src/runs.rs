//! A federation's runs in a list, to the wire and back.

use run_status::{RunEntry, RunState};

use crate::convert::{ConversionError, Fault, cut, run_named};
use crate::v1;

impl From<RunEntry> for v1::RunEntry {
    fn from(entry: RunEntry) -> Self {
        let RunEntry {
            run,
            number,
            name,
            author,
            state,
            reason,
            position,
            rounds_committed,
            rounds_planned,
            submitted_ms,
            submitted_by,
            since_ms,
            until_ms,
        } = entry;
        Self {
            run: run.as_bytes().to_vec(),
            number,
            name,
            author,
            state: state.number(),
            // It may quote what silos said.
            reason: cut(reason),
            position,
            rounds_committed,
            rounds_planned,
            submitted_ms,
            submitted_by,
            since_ms,
            until_ms,
        }
    }
}

impl TryFrom<v1::RunEntry> for RunEntry {
    type Error = ConversionError;

    fn try_from(sent: v1::RunEntry) -> Result<Self, ConversionError> {
        Ok(Self {
            run: run_named(&sent.run)?.ok_or_else(|| ConversionError::new("run", Fault::Missing))?,
            number: sent.number,
            name: sent.name,
            author: sent.author,
            state: RunState::numbered(sent.state),
            reason: sent.reason,
            position: sent.position,
            rounds_committed: sent.rounds_committed,
            rounds_planned: sent.rounds_planned,
            submitted_ms: sent.submitted_ms,
            submitted_by: sent.submitted_by,
            since_ms: sent.since_ms,
            until_ms: sent.until_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn sent(entry: RunEntry) -> v1::RunEntry {
        v1::RunEntry::decode(&v1::RunEntry::from(entry).encode_to_vec()[..]).unwrap()
    }

    #[test]
    fn every_fact_of_a_run_in_the_list_reaches_who_asked() {
        let entry = run_status::samples::run_entry();
        assert_eq!(RunEntry::try_from(sent(entry.clone())), Ok(entry));
    }

    #[test]
    fn a_run_without_its_name_is_not_read_and_a_state_of_a_later_release_is_unknown() {
        let entry = || sent(run_status::samples::run_entry());
        let nameless = v1::RunEntry { run: Vec::new(), ..entry() };
        assert_eq!(RunEntry::try_from(nameless).unwrap_err().to_string(), "run: missing");
        let cut = v1::RunEntry { run: vec![1; 31], ..entry() };
        assert_eq!(RunEntry::try_from(cut).unwrap_err().to_string(), "run: 31 bytes instead of 32");
        let later = v1::RunEntry { state: 99, ..entry() };
        assert_eq!(RunEntry::try_from(later).unwrap().state, RunState::Unknown);
    }

    #[test]
    fn a_reason_is_cut_before_it_is_sent() {
        let flood = RunEntry { reason: "é".repeat(5000), ..run_status::samples::run_entry() };
        assert!(v1::RunEntry::from(flood).encode_to_vec().len() < 2000);
    }
}
