//! What clients say, admitted or rejected.

use params::Digest;
use secagg::{ClientId, Complaint, UnmaskShares};

use super::phase::{Phase, Step};
use super::state::Absence;
use super::{Coordinator, Effect, Link, send};
use crate::Timestamp;
use crate::record::Record;
use messages::{
    Attempt, Decline, DropReason, Rejection, RoundOutcome, ToClient, ToCoordinator, UploadHeader,
};
use messages::{SandboxLevel, SessionVersion};

impl Coordinator {
    pub(super) fn connected(&mut self, client: ClientId, version: SessionVersion) -> Result<(), Rejection> {
        if !self.state.newest_roster().keys().contains_key(&client) {
            return Err(Rejection::UnknownClient(client));
        }
        self.links.insert(client, Link::new(version));
        // Who is on the next roster only is welcomed when that one is in force.
        if self.state.roster.keys().contains_key(&client) {
            self.welcome(client);
        }
        Ok(())
    }

    /// What of a welcome no silo of a version before [`SessionVersion::Three`] reads.
    pub(super) fn unread_by_older_peers(&self) -> Option<String> {
        let (roster, plan) = (self.state.roster.format(), self.setup.plan.format());
        match (roster > 1, plan > 1) {
            (true, _) => Some(format!("the roster in force is of format {roster}")),
            (false, true) => Some(format!("the plan is of format {plan}")),
            (false, false) => None,
        }
    }

    pub(super) fn welcome(&mut self, client: ClientId) {
        let Some((run_id, link)) = self.run_id().zip(self.links.get(&client)) else { return };
        let roster = &self.state.roster;
        if link.version < SessionVersion::Three
            && let Some(unread) = self.unread_by_older_peers()
        {
            // A release of that version does not read it, and would call it the coordinator's fault.
            let rejection = Rejection::Invalid(format!(
                "{}: {unread}, which needs protocol version {}; install this release on the silo",
                SessionVersion::OLDER_PEER,
                SessionVersion::Three
            ));
            return send(&mut self.effects, client, ToClient::Rejected { rejection });
        }
        let between = match link.version {
            SessionVersion::Two => vec![],
            SessionVersion::Three | SessionVersion::Four => self.state.lineage.leading_to(roster, link.holds),
        };
        let welcome = ToClient::Welcome {
            run_id,
            plan: Box::new(self.setup.plan.signed().clone()),
            roster: Box::new(roster.signed().clone()),
            between,
        };
        send(&mut self.effects, client, welcome);
    }

    pub(super) fn message(
        &mut self,
        from: ClientId,
        message: ToCoordinator,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        if !self.state.roster.keys().contains_key(&from) {
            return Err(Rejection::UnknownClient(from));
        }
        match message {
            ToCoordinator::CheckIn { head, data, sandbox } => self.check_in(from, head, data, sandbox),
            ToCoordinator::Declined { round, reason } => self.declined(from, round, reason),
            ToCoordinator::Advertise { at, advert } => {
                let (round, Step::Advertising(step)) = self.state.phase.step(at)? else {
                    return Err(self.out_of_phase("an advert"));
                };
                let new = step.admit(round, from, &advert, self.state.roster.keys(), &self.setup.plan)?;
                self.commit_if(new, Record::Advertised(advert));
                Ok(())
            }
            ToCoordinator::ShareKeys { at, bundle } => {
                let (round, Step::Sharing(step)) = self.state.phase.step(at)? else {
                    return Err(self.out_of_phase("key shares"));
                };
                let new = step.admit(round, from, &bundle)?;
                self.commit_if(new, Record::Shared(bundle));
                Ok(())
            }
            ToCoordinator::Complain { at, complaint } => self.complained(from, at, &complaint, now),
            ToCoordinator::SignIncluded { at, signature } => match self.state.phase.step(at)? {
                (_, Step::Consistency(step)) => {
                    let new = step.admit(from, &signature)?;
                    self.commit_if(new, Record::IncludedSigned(signature));
                    Ok(())
                }
                // A signature after the quorum is late, not wrong.
                (_, Step::Unmasking(_) | Step::Summing(_)) => Ok(()),
                _ => Err(self.out_of_phase("a signature on the included set")),
            },
            ToCoordinator::Unmask { at, shares } => self.unmask(from, at, shares),
        }
    }

    /// A complaint is of use once U2 is fixed and as long as uploads are awaited.
    fn complained(
        &mut self,
        from: ClientId,
        at: Attempt,
        complaint: &Complaint,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let (_, Step::Uploading(step)) = self.state.phase.step(at)? else {
            return Err(self.out_of_phase("a complaint"));
        };
        let Complaint { accuser, accused, .. } = *complaint;
        if accuser != from {
            return Err(Rejection::Invalid("a complaint in another silo's name".into()));
        }
        let verified = step.cohort.cohort().verify_complaint(complaint);
        verified.map_err(|why| Rejection::Invalid(why.to_string()))?;
        self.commit(Record::KeptApart { accuser, accused });
        self.abort(now, RoundOutcome::Complaint { accuser, accused });
        Ok(())
    }

    fn check_in(
        &mut self,
        from: ClientId,
        head: Option<u64>,
        data: Option<Digest>,
        sandbox: Option<SandboxLevel>,
    ) -> Result<(), Rejection> {
        // It declined by its own word, and takes it back by checking in.
        let written = self.state.absent.get(&from).is_some_and(Absence::is_declined);
        self.commit_if(written, Record::Willing { client: from });
        self.declining.remove(&from);
        self.reasons.over(from);
        let newest = self.state.head_round();
        if let Some(seen) = head.filter(|seen| *seen > newest) {
            return Err(Rejection::Invalid(format!(
                "this silo has seen the chain up to round {seen}, the coordinator holds it up to round {newest}: \
                 the coordinator's folder was rolled back; restore its newest journal"
            )));
        }
        let version = self.links.get(&from).map_or(SessionVersion::OLDEST, |link| link.version);
        let is_news = self.state.declared.is_data_news(from, version, data);
        self.commit_if(is_news, Record::DataDeclared { client: from, data });
        let is_news = self.state.declared.is_sandbox_news(from, sandbox.as_ref());
        self.commit_if(is_news, Record::SandboxDeclared { client: from, level: sandbox });
        if head.is_none_or(|seen| seen < newest) {
            self.effects.push(Effect::SendChain { to: from, after: head });
        }
        // Nothing is said where no session stands.
        let link = self.links.entry(from).or_insert(Link::new(SessionVersion::NEWEST));
        link.checked_in = true;
        self.say_end(from);
        if let Some(message) = self.state.phase.message_for(from) {
            send(&mut self.effects, from, message);
        }
        Ok(())
    }

    fn declined(&mut self, from: ClientId, round: Option<u64>, reason: Decline) -> Result<(), Rejection> {
        let reason = reason.in_own_words();
        match round {
            None => {
                self.drop_client(from, DropReason::Declined(reason.clone()));
                self.reasons.keeps_out(from, reason.to_string());
                // Who waits for its operator comes back by itself: it has declined nothing for good.
                let waits = reason.waits();
                let known = self.state.absent.contains_key(&from);
                if !waits && !known && self.state.is_new_decline(from, &reason.to_string()) {
                    self.commit(Record::Declined { client: from, reason: reason.to_string() });
                }
                if waits {
                    self.declining.remove(&from);
                } else {
                    self.declining.insert(from, reason.to_string());
                }
                if let Some(link) = self.links.get_mut(&from) {
                    link.checked_in = false;
                }
            }
            Some(round) => {
                if self.state.phase.round().is_none_or(|r| r.at.round != round) {
                    return Err(Rejection::StaleAttempt);
                }
                // Who sits out lost the secrets of keys that it advertised: of an earlier attempt, if of none here.
                if reason == Decline::SitsOut
                    && let Phase::InRound(_, Step::Advertising(step)) = &self.state.phase
                    && !step.adverts.contains_key(&from)
                {
                    return Err(Rejection::StaleAttempt);
                }
                self.drop_client(from, DropReason::Declined(reason));
            }
        }
        Ok(())
    }

    pub(super) fn staged(&mut self, header: UploadHeader) -> Result<(), Rejection> {
        let lanes = self.setup.plan.lanes();
        let (round, step) = match &self.state.phase {
            Phase::InRound(round, Step::Uploading(step)) => (round, step),
            later if later.has_staged(&header) => {
                // The acknowledgement was lost; the upload was not.
                send(&mut self.effects, header.client, ToClient::UploadDurable { at: header.at });
                return Ok(());
            }
            _ => return Err(self.out_of_phase("a masked vector")),
        };
        let new = step.admit(round, &header, lanes)?;
        let (client, at) = (header.client, header.at);
        self.commit_if(new, Record::Staged(header));
        send(&mut self.effects, client, ToClient::UploadDurable { at });
        Ok(())
    }

    fn unmask(&mut self, from: ClientId, at: Attempt, shares: UnmaskShares) -> Result<(), Rejection> {
        let (round, step) = match self.state.phase.step(at)? {
            (round, Step::Unmasking(step)) => (round, step),
            // An answer after the threshold is late, not wrong.
            (_, Step::Summing(_)) => return Ok(()),
            _ => return Err(self.out_of_phase("an unmask answer")),
        };
        match step.admit(round, from, &shares) {
            Ok(new) => {
                self.commit_if(new, Record::Unmasked(shares));
                Ok(())
            }
            Err(rejection) => {
                if let Rejection::Invalid(why) = &rejection {
                    self.drop_client(from, DropReason::Misbehaved(why.clone()));
                }
                Err(rejection)
            }
        }
    }
}
