//! What an operator is shown of a run and of the members, to the wire and back.

use params::Digest;
use run_status::{
    ClientStatus, Ended, Ending, Owed, ReasonMoment, RunPhase, Server, Shown, Standing, Status, Waiting,
};
use secagg::ClientId;

use crate::convert::{ConversionError, Fault, cut};
use crate::v1;

impl From<Shown> for v1::RunStatus {
    /// The words stay beside their numbers for one more release: the first one's tools read nothing else.
    fn from(Shown { run, server }: Shown) -> Self {
        Self {
            run_id: run.run_id.to_string(),
            run_name: run.run_name,
            plan: run.plan.to_string(),
            rounds_planned: run.rounds_planned,
            rounds_committed: run.rounds_committed,
            rounds_aborted: run.rounds_aborted,
            attempts_aborted: run.attempts_aborted,
            round: run.round,
            attempt: run.attempt,
            phase: run.phase.word().to_owned(),
            phase_code: run.phase.number(),
            deadline_ms: run.deadline_ms,
            waiting_for: run.waiting_for.into_iter().map(v1::WaitingFor::from).collect(),
            waiting_why: run.waiting_why,
            notices: run.notices,
            clients: run.clients.into_iter().map(v1::ClientStatus::from).collect(),
            dropouts: run.dropouts,
            privacy: Some(run.privacy.into()),
            epsilon_left: run.epsilon_left,
            head: run.head.map(|digest| digest.to_string()),
            model: run.model.map(|digest| digest.to_string()),
            head_round: run.head_round,
            metrics: run.metrics,
            last_outcome: run.last_outcome,
            ended_code: run.ended.as_ref().map_or(Ending::Unknown, |ended| ended.how).number(),
            ended: run.ended.map(|ended| ended.why),
            bytes_received: server.bytes_received,
            bytes_sent: server.bytes_sent,
            server_version: server.server_version,
            now_ms: server.now_ms,
            started_ms: server.started_ms,
        }
    }
}

impl TryFrom<v1::RunStatus> for Shown {
    type Error = ConversionError;

    fn try_from(sent: v1::RunStatus) -> Result<Self, ConversionError> {
        let how = Ending::numbered(sent.ended_code);
        let run = Status {
            run_id: digest("run_id", &sent.run_id)?,
            run_name: sent.run_name,
            plan: digest("plan", &sent.plan)?,
            rounds_planned: sent.rounds_planned,
            rounds_committed: sent.rounds_committed,
            rounds_aborted: sent.rounds_aborted,
            attempts_aborted: sent.attempts_aborted,
            round: sent.round,
            attempt: sent.attempt,
            phase: known(sent.phase_code, RunPhase::numbered, &sent.phase, RunPhase::of),
            deadline_ms: sent.deadline_ms,
            waiting_for: sent.waiting_for.into_iter().map(Waiting::from).collect(),
            waiting_why: sent.waiting_why,
            notices: sent.notices,
            clients: sent.clients.into_iter().map(ClientStatus::from).collect(),
            dropouts: sent.dropouts,
            privacy: sent.privacy.ok_or_else(|| ConversionError::new("privacy", Fault::Missing))?.into(),
            epsilon_left: sent.epsilon_left,
            head: sent.head.map(|text| digest("head", &text)).transpose()?,
            model: sent.model.map(|text| digest("model", &text)).transpose()?,
            head_round: sent.head_round,
            metrics: sent.metrics,
            last_outcome: sent.last_outcome,
            ended: sent.ended.map(|why| Ended { how, why }),
        };
        let server = Server {
            bytes_received: sent.bytes_received,
            bytes_sent: sent.bytes_sent,
            server_version: sent.server_version,
            now_ms: sent.now_ms,
            started_ms: sent.started_ms,
        };
        Ok(Self { run, server })
    }
}

impl From<Waiting> for v1::WaitingFor {
    fn from(Waiting { client, what }: Waiting) -> Self {
        Self { client: client.0, what: what.word().to_owned(), what_code: what.number() }
    }
}

impl From<v1::WaitingFor> for Waiting {
    fn from(sent: v1::WaitingFor) -> Self {
        let what = known(sent.what_code, Owed::numbered, &sent.what, Owed::of);
        Self { client: ClientId(sent.client), what }
    }
}

impl From<ClientStatus> for v1::ClientStatus {
    fn from(client: ClientStatus) -> Self {
        Self {
            id: client.id.0,
            name: client.name,
            connected: client.connected,
            state: client.state.word().to_owned(),
            state_code: client.state.number(),
            // It may quote what a client said, and there are as many as members.
            last_reason: cut(client.last_reason),
            rounds_included: client.rounds_included,
            rounds_left_out: client.rounds_left_out,
            reason_ms: client.reason_moment.map(|moment| moment.time_ms),
            reason_round: client.reason_moment.and_then(|moment| moment.round),
            reason_attempt: client.reason_moment.and_then(|moment| moment.attempt),
        }
    }
}

impl From<v1::ClientStatus> for ClientStatus {
    fn from(sent: v1::ClientStatus) -> Self {
        Self {
            id: ClientId(sent.id),
            name: sent.name,
            connected: sent.connected,
            state: known(sent.state_code, Standing::numbered, &sent.state, Standing::of),
            last_reason: sent.last_reason,
            reason_moment: sent.reason_ms.map(|time_ms| ReasonMoment {
                round: sent.reason_round,
                attempt: sent.reason_attempt,
                time_ms,
            }),
            rounds_included: sent.rounds_included,
            rounds_left_out: sent.rounds_left_out,
        }
    }
}

impl From<checkpoint::PrivacySpent> for v1::PrivacySpent {
    fn from(spent: checkpoint::PrivacySpent) -> Self {
        let checkpoint::PrivacySpent {
            mode,
            unit,
            relation,
            epsilon,
            delta,
            accountant,
            steps,
            noise_by,
            trust,
        } = spent;
        Self { mode, unit, relation, epsilon, delta, accountant, steps, noise_by, trust }
    }
}

impl From<v1::PrivacySpent> for checkpoint::PrivacySpent {
    fn from(sent: v1::PrivacySpent) -> Self {
        let v1::PrivacySpent { mode, unit, relation, epsilon, delta, accountant, steps, noise_by, trust } =
            sent;
        Self { mode, unit, relation, epsilon, delta, accountant, steps, noise_by, trust }
    }
}

impl v1::Membership {
    /// As it is written: in listings, and by coordinators of the first release instead of the number.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unspecified => "unknown",
            Self::AwaitingApproval => "awaiting approval",
            Self::Member => "member",
            Self::Revoked => "revoked",
            Self::Refused => "refused",
        }
    }
}

impl v1::ClientEntry {
    /// Where it stands, also where a coordinator of the first release says it in words alone.
    pub fn membership(&self) -> v1::Membership {
        let all = [
            v1::Membership::AwaitingApproval,
            v1::Membership::Member,
            v1::Membership::Revoked,
            v1::Membership::Refused,
        ];
        match self.state_code() {
            v1::Membership::Unspecified => {
                all.into_iter().find(|one| one.word() == self.state).unwrap_or(v1::Membership::Unspecified)
            }
            known => known,
        }
    }
}

/// By its number, or else by its word: the first release sends no number.
fn known<T>(number: i32, numbered: fn(i32) -> T, word: &str, of: fn(&str) -> T) -> T {
    if number == 0 { of(word) } else { numbered(number) }
}

fn digest(field: &str, text: &str) -> Result<Digest, ConversionError> {
    text.parse().map_err(|_| ConversionError::new(field, Fault::NoDigest))
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use run_status::samples::shown;

    use super::*;

    fn sent(shown: Shown) -> v1::RunStatus {
        v1::RunStatus::decode(&v1::RunStatus::from(shown).encode_to_vec()[..]).unwrap()
    }

    #[test]
    fn every_fact_of_a_status_reaches_the_operator() {
        assert_eq!(Shown::try_from(sent(shown())).unwrap(), shown());
    }

    #[test]
    fn a_coordinator_that_sends_words_alone_is_understood_and_a_later_ones_numbers_are_unknown() {
        let mut words = sent(shown());
        (words.phase_code, words.ended_code) = (0, 0);
        (words.waiting_for[0].what_code, words.clients[0].state_code) = (0, 0);
        let read = Shown::try_from(words).unwrap();
        let mut expected = shown();
        expected.run.ended.as_mut().unwrap().how = Ending::Unknown;
        assert_eq!(read, expected);
        let mut later = sent(shown());
        (later.phase_code, later.phase) = (99, "lunch".into());
        assert_eq!(Shown::try_from(later).unwrap().run.phase, RunPhase::Unknown);
    }

    #[test]
    fn a_status_without_its_digests_or_its_promise_is_not_read() {
        let field = |edit: fn(&mut v1::RunStatus)| {
            let mut broken = sent(shown());
            edit(&mut broken);
            Shown::try_from(broken).unwrap_err().to_string()
        };
        assert_eq!(field(|status| status.run_id.clear()), "run_id: no digest of 64 hexadecimal digits");
        assert_eq!(
            field(|status| status.model = Some("m".into())),
            "model: no digest of 64 hexadecimal digits"
        );
        assert_eq!(field(|status| status.privacy = None), "privacy: missing");
    }

    #[test]
    fn a_clients_reason_is_cut_before_it_is_sent() {
        let mut flood = shown();
        flood.run.clients[0].last_reason = "é".repeat(5000);
        let sent = v1::RunStatus::from(flood).encode_to_vec();
        assert!(sent.len() < 3000, "a reason is not cut: {} bytes", sent.len());
    }

    #[test]
    fn the_numbers_of_the_words_are_those_of_the_contract() {
        let held = |prefix: &str, variant: String, name: Option<&'static str>| {
            let mut expected = prefix.to_owned();
            for letter in variant.chars() {
                if letter.is_ascii_uppercase() {
                    expected.push('_');
                }
                expected.push(letter.to_ascii_uppercase());
            }
            assert_eq!(name, Some(expected.as_str()));
        };
        for phase in RunPhase::ALL {
            let name = v1::RunPhase::try_from(phase.number()).ok().map(|code| code.as_str_name());
            held("RUN_PHASE", format!("{phase:?}"), name);
        }
        for standing in Standing::ALL {
            let name = v1::Standing::try_from(standing.number()).ok().map(|code| code.as_str_name());
            held("STANDING", format!("{standing:?}"), name);
        }
        for owed in Owed::ALL {
            let name = v1::Owed::try_from(owed.number()).ok().map(|code| code.as_str_name());
            held("OWED", format!("{owed:?}"), name);
        }
        for ending in Ending::ALL {
            let name = v1::Ending::try_from(ending.number()).ok().map(|code| code.as_str_name());
            held("ENDING", format!("{ending:?}"), name);
        }
    }

    #[test]
    fn a_members_state_is_known_by_its_number_and_from_the_first_release_by_its_word() {
        let entry = |state: &str, code: v1::Membership| v1::ClientEntry {
            state: state.into(),
            state_code: code.into(),
            ..v1::ClientEntry::default()
        };
        let revoked = v1::Membership::Revoked;
        assert_eq!(entry("in words of its own", revoked).membership(), revoked);
        assert_eq!(entry("revoked", v1::Membership::Unspecified).membership(), revoked);
        assert_eq!(entry("lunch", v1::Membership::Unspecified).membership(), v1::Membership::Unspecified);
    }
}
