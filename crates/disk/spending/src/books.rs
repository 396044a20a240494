//! What a silo would answer to a plan, for its own operator, who may know why.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ledger::{Account, ReadError};
use params::Digest;
use plan::{AuthoredPlan, Offers, Plan, PlanOffer, Policy, Refusal};
use protocol::{ClientRecord, RecordError};
use store::{FileStore, JournalKind, StoreError};
use vault::MasterSource;

use crate::claims::room_for;

/// What the data of a silo has spent and which plans the silo has answered, as it lies on the disk at one moment: its daemon may run.
#[derive(Debug, Default)]
pub struct SiloBooks {
    account: Account,
    offers: Offers,
    /// Whether nothing was debited, claimed or declared yet.
    pub is_new: bool,
}

/// Why it is not known.
#[derive(Debug, thiserror::Error)]
pub enum SiloBooksError {
    /// The ledger, or what opens it.
    #[error(transparent)]
    Ledger(#[from] ReadError),
    /// The journal, or what opens it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Neither a ledger nor where one will be made.
    #[error(
        "`{}`: is not there, and not where this silo's daemon makes its ledger: name `ledger` in its state_dir", path.display()
    )]
    NoLedger {
        /// What was named.
        path: PathBuf,
    },
    /// A record of the journal is of another version.
    #[error("the journal: {0}")]
    Record(#[from] RecordError),
}

/// How a silo stands to a plan that it does not refuse.
#[derive(Debug, PartialEq, Eq)]
pub enum OfferStanding {
    /// There is room for a run of it.
    Room,
    /// A run of it has its claim.
    Claimed {
        run: Digest,
        /// In so many rounds the data was used under the plan.
        made: u64,
        /// So many more the claim covers.
        left: u64,
    },
}

impl fmt::Display for OfferStanding {
    /// One line, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room => f.write_str("has room for a run of the plan"),
            Self::Claimed { run, made, left } => write!(
                f,
                "run {} of this plan has its claim: its data was in {made} rounds under the plan, and {left} more are left to it",
                run.short()
            ),
        }
    }
}

/// What a silo answers when it refuses, and beside it, for its own operator, why.
pub fn refusal_text(why: &Refusal) -> String {
    match (why.rule().name(), why.code()) {
        (rule, code) if rule == code => format!("the silo would answer {code}: {why}"),
        (rule, code) => format!("the silo would answer {code}, for {rule}: {why}"),
    }
}

impl SiloBooks {
    /// Of the ledger at `ledger` and the journal in the folder `state`. What is not there yet holds nothing.
    ///
    /// # Errors
    /// [`SiloBooksError`]
    pub fn of(ledger: &Path, state: &Path, master: Option<&MasterSource>) -> Result<Self, SiloBooksError> {
        let account = ledger::account(ledger, master)?;
        let vault = match (FileStore::is_sealed(state)?, master) {
            (true, Some(master)) => Some(Arc::new(ledger::open_vault(&state.join("journal"), master)?)),
            _ => None,
        };
        let mut offers = Offers::default();
        for record in FileStore::look(state, JournalKind::Client, vault)? {
            if let ClientRecord::OfferAnswered(answered) = ClientRecord::decode(&record)? {
                offers.note(&answered);
            }
        }
        Ok(match account {
            Some(account) => Self { account, offers, is_new: false },
            None => Self { account: Account::default(), offers, is_new: true },
        })
    }

    /// What a silo of this policy would answer if it were offered this plan now, in milliseconds since the Unix epoch, as another run
    /// than it was before.
    ///
    /// # Errors
    /// Why it would refuse, with the numbers.
    pub fn answer(
        &self,
        plan: &AuthoredPlan,
        policy: &Policy,
        now_ms: u64,
    ) -> Result<OfferStanding, Refusal> {
        let of_plan = |open: &ledger::OpenClaim<'_>| open.claim.plan == plan.digest();
        if let Some(open) = self.account.claims(now_ms).into_iter().find(of_plan) {
            let (run, made, left) = (open.claim.run, open.made, open.uploads_left());
            return Ok(OfferStanding::Claimed { run, made, left });
        }
        // No run has this name.
        let run = Digest::of("folkmoot/v1/no-run", &[]);
        self.offers.may_look(&PlanOffer::of(run, plan, policy), policy.offers_per_author, now_ms)?;
        self.room(plan, &plan.signed().author, policy, now_ms)
    }

    /// Whether the ledger has room for a run of a plan that nobody has signed: how many plans of its author are looked at is not known
    /// then.
    ///
    /// # Errors
    /// Why not, with the numbers.
    pub fn answer_unsigned(
        &self,
        plan: &Plan,
        policy: &Policy,
        now_ms: u64,
    ) -> Result<OfferStanding, Refusal> {
        self.room(plan, "", policy, now_ms)
    }

    fn room(
        &self,
        plan: &Plan,
        author: &str,
        policy: &Policy,
        now_ms: u64,
    ) -> Result<OfferStanding, Refusal> {
        room_for(&self.account, policy, plan, author, now_ms).map(|()| OfferStanding::Room)
    }
}

#[cfg(test)]
mod tests {
    use identity::IdentityKey;
    use ledger::Ledger;
    use plan::Answered;
    use store::Store;

    use super::*;

    #[test]
    fn a_silo_is_looked_at_while_its_daemon_holds_the_journal_and_its_answers_are_those_that_it_would_give() {
        let folder = tempfile::tempdir().unwrap();
        let key = IdentityKey::from_secret_hex(&hex::encode([9; 32])).unwrap();
        let sample = Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap();
        let plan = sample.sign(&key);
        let policy = Policy { epsilon_max: 5.0, delta_max: 1e-5, ..Policy::for_authors([]) };
        let path = folder.path().join("ledger");
        let answer = || {
            let inspection = SiloBooks::of(&path, folder.path(), None).unwrap();
            (inspection.is_new, inspection.answer(&plan, &policy, 9).map_err(|why| why.rule()))
        };
        assert_eq!(answer(), (true, Ok(OfferStanding::Room)));
        let opened = FileStore::open(folder.path(), JournalKind::Client, |_, _, _| Ok(())).unwrap();
        let mut held = opened.store;
        let offer = PlanOffer {
            plan: Digest::sha256(b"another"),
            ..PlanOffer::of(Digest::sha256(b"run"), &plan, &policy)
        };
        let mut note = |answered: Answered| {
            held.append_all(&[ClientRecord::OfferAnswered(answered).encode()]).unwrap();
        };
        for look in 0..3 {
            note(PlanOffer { run: Digest::sha256(&[look]), ..offer }.answered(1, true));
        }
        assert_eq!(answer(), (true, Ok(OfferStanding::Room)));
        note(PlanOffer { plan: plan.digest(), ..offer }.answered(1, false));
        let inspection = SiloBooks::of(&path, folder.path(), None).unwrap();
        assert_eq!(inspection.answer(&plan, &policy, 9), Err(Refusal::AnsweredBefore));
        let later = Policy { epsilon_max: 6.0, ..policy.clone() };
        let looked = Err(Refusal::OffersPerAuthor { plans: 4, days: 30 });
        assert_eq!(inspection.answer(&plan, &later, 9), looked, "another policy, whose look is one too many");
        assert_eq!(inspection.answer_unsigned(&plan, &later, 9), Ok(OfferStanding::Room));

        let ledger = Ledger::new(&path, "d", None, None).unwrap();
        let claim = ledger::RunClaim { plan: plan.digest(), ..ledger::samples::claim("run", 3) };
        ledger.claim(claim, &ledger::samples::CLAIM_LIMITS, 9).unwrap();
        let run = Digest::sha256(b"run");
        assert_eq!(answer(), (false, Ok(OfferStanding::Claimed { run, made: 0, left: 3 })));
    }
}
