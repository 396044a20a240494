//! One silo: the real participant or a liar, a journal on a disk that survives, vectors that do not.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use identity::{AuthorisedRoster, IdentityKey};
use params::Digest;
use plan::{Contribution, Policy};
use protocol::{ClientEffect, ClientRecord, JobId, MaskJob, Participant, Profile, Timestamp, Vector};
use rand_core::CryptoRng;
use secagg::adversary::mask_any;
use secagg::{ClientId, MaskedUpdate};
use store::{Journal, JournalKind};

use crate::claims::Claims;
use crate::disk::Disk;
use crate::liar::Liars;
use crate::samples::authority;

/// What a silo's machine holds.
pub(crate) struct Silo {
    pub(crate) id: ClientId,
    key: String,
    roster: AuthorisedRoster,
    pub(crate) policy: Policy,
    pub(crate) disk: Disk,
    /// Set where this silo's program is not the real one.
    pub(crate) liar: Option<Liars>,
    /// The process; `None` while it is dead.
    pub(crate) process: Option<Process>,
    /// Counts processes: what an older one began does not reach a newer one.
    pub(crate) life: u64,
    /// The session, while this side holds it for alive.
    pub(crate) session: Option<u64>,
    /// By how much its clock is off, in milliseconds.
    pub(crate) clock_error_ms: i64,
    /// Records whose write was acknowledged.
    pub(crate) acknowledged: Vec<ClientRecord>,
    /// What runs have claimed of its balance.
    pub(crate) claims: Claims,
    /// What went into each mask, by the digest that the vector was announced under, kept by the simulation only, to check sums with.
    pub(crate) plaintext: BTreeMap<Digest, Vec<u32>>,
}

pub(crate) struct Process {
    pub(crate) participant: Participant,
    pub(crate) journal: Journal<Disk>,
    /// Masked vectors of attempts in progress, by their digests, each with the training that it is of; a liar's own is of none.
    pub(crate) masked: BTreeMap<Digest, (Option<JobId>, MaskedUpdate)>,
    pub(crate) effects: VecDeque<ClientEffect>,
    /// Counts upload jobs: a new one ends the one before.
    pub(crate) upload_job: u64,
}

impl Silo {
    pub(crate) fn new(id: ClientId, key: String, roster: AuthorisedRoster, policy: Policy) -> Self {
        Self {
            id,
            key,
            roster,
            policy,
            disk: Disk::new(Journal::empty(JournalKind::Client)),
            liar: None,
            process: None,
            life: 0,
            session: None,
            clock_error_ms: 0,
            acknowledged: Vec::new(),
            claims: Claims::default(),
            plaintext: BTreeMap::new(),
        }
    }

    pub(crate) fn identity(&self) -> IdentityKey {
        IdentityKey::from_secret_hex(&self.key).expect("a key made by the simulation")
    }

    /// Starts the process from what is on disk; gives the records found there.
    ///
    /// # Errors
    /// What the journal or the participant says against it.
    pub(crate) fn start(&mut self, clock_error_ms: i64) -> Result<Vec<ClientRecord>, String> {
        let (journal, _) =
            Journal::mount(self.disk.clone(), Path::new("silo's journal"), JournalKind::Client)
                .map_err(|why| why.to_string())?;
        let mut records = Vec::new();
        journal
            .replay(&mut |_, bytes| records.push(ClientRecord::decode(bytes)))
            .map_err(|why| why.to_string())?;
        let records = records.into_iter().collect::<Result<Vec<_>, _>>().map_err(|why| why.to_string())?;
        let profile = Profile {
            id: self.id,
            identity: self.identity(),
            authority: authority().public(),
            roster: self.roster.clone(),
            policy: self.policy.clone(),
            declares_data: true,
            sandbox: None,
        };
        let participant = Participant::recover(profile, &records).map_err(|why| why.to_string())?;
        self.life += 1;
        self.clock_error_ms = clock_error_ms;
        self.process = Some(Process {
            participant,
            journal,
            masked: BTreeMap::new(),
            effects: VecDeque::new(),
            upload_job: 0,
        });
        Ok(records)
    }

    /// What was in memory is gone.
    pub(crate) fn kill(&mut self) {
        self.process = None;
        self.session = None;
        if let Some(liar) = &mut self.liar {
            liar.forget();
        }
    }

    pub(crate) fn alive(&self) -> bool {
        self.process.is_some()
    }

    /// What its clock says at this time.
    pub(crate) fn clock(&self, start_ms: u64, now_ms: u64) -> Timestamp {
        Timestamp((start_ms + now_ms).saturating_add_signed(self.clock_error_ms))
    }

    /// When its participant wants to be called, in milliseconds after the start.
    pub(crate) fn deadline_ms(&self, start_ms: u64) -> Option<u64> {
        let due = self.process.as_ref()?.participant.deadline()?;
        Some(due.0.saturating_add_signed(-self.clock_error_ms).saturating_sub(start_ms))
    }

    /// Protects and masks; the vector is held by the process.
    pub(crate) fn mask(
        &mut self,
        job: MaskJob,
        contribution: Contribution,
        rng: &mut dyn CryptoRng,
    ) -> Option<Vector> {
        let mechanism = job.plan.mechanism().expect("a validated plan");
        let protected = mechanism
            .protect(contribution, job.origin, job.masking.noise(), rng)
            .expect("a contribution within bounds");
        let origin = protected.origin();
        let lanes = protected.into_plain_lanes();
        let masked = mask_any(job.masking, lanes.clone());
        let digest = Digest::from_bytes(masked.digest());
        self.plaintext.insert(digest, lanes);
        self.process.as_mut()?.masked.insert(digest, (Some(job.trained), masked));
        Some(Vector { origin, digest, failed: false })
    }
}
