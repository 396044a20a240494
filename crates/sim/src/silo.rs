//! One silo: the real participant, a journal that survives kills, vectors that do not.

use std::collections::BTreeMap;

use identity::{IdentityKey, Policy, Roster};
use params::Digest;
use protocol::{
    Attempt, ClientEffect, ClientEffects, ClientInput, ClientRecord, MaskJob, Participant, Profile,
    Timestamp, ToCoordinator, UploadHeader,
};
use rand_core::CryptoRng;
use secagg::{ClientId, MaskedUpdate};

/// What a silo's process and disk hold.
pub(crate) struct Silo {
    id: ClientId,
    key: String,
    roster: Roster,
    policy: Policy,
    /// On disk.
    journal: Vec<ClientRecord>,
    /// The process; `None` while it is dead.
    participant: Option<Participant>,
    /// In memory: masked vectors of attempts in progress.
    masked: BTreeMap<Attempt, MaskedUpdate>,
    /// What went into the mask, kept by the simulation only, to check sums with.
    pub(crate) plaintext: BTreeMap<Attempt, Vec<u32>>,
}

/// What a silo wants from the world.
pub(crate) enum Wish {
    Say(ToCoordinator),
    Upload(UploadHeader),
}

impl Silo {
    pub(crate) fn new(id: ClientId, key: String, roster: Roster, policy: Policy) -> Self {
        let mut silo = Self {
            id,
            key,
            roster,
            policy,
            journal: Vec::new(),
            participant: None,
            masked: BTreeMap::new(),
            plaintext: BTreeMap::new(),
        };
        silo.start();
        silo
    }

    /// Starts the process from what is on disk.
    pub(crate) fn start(&mut self) {
        let identity = IdentityKey::from_secret_hex(&self.key).expect("a key made by the simulation");
        let profile =
            Profile { id: self.id, identity, roster: self.roster.clone(), policy: self.policy.clone() };
        let journal: Vec<ClientRecord> = self
            .journal
            .iter()
            .map(|record| ClientRecord::decode(&record.encode()).expect("its own bytes"))
            .collect();
        self.participant = Some(Participant::recover(profile, &journal).expect("its own journal"));
    }

    /// SIGKILL: what was in memory is gone.
    pub(crate) fn kill(&mut self) {
        self.participant = None;
        self.masked.clear();
    }

    pub(crate) fn alive(&self) -> bool {
        self.participant.is_some()
    }

    pub(crate) fn participant(&self) -> Option<&Participant> {
        self.participant.as_ref()
    }

    pub(crate) fn journal(&self) -> &[ClientRecord] {
        &self.journal
    }

    pub(crate) fn masked(&self, at: Attempt) -> Option<&MaskedUpdate> {
        self.masked.get(&at)
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.participant.as_ref().and_then(Participant::deadline)
    }

    /// Feeds one input and performs the effects that stay inside the silo.
    pub(crate) fn handle(
        &mut self,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        input: ClientInput,
        contribute: &mut dyn FnMut(ClientId, Attempt) -> identity::Contribution,
    ) -> Vec<Wish> {
        let mut wishes = Vec::new();
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let Some(participant) = &mut self.participant else { return wishes };
            let mut effects = ClientEffects::new();
            participant.handle(now, rng, input, &mut effects);
            for effect in effects {
                match effect {
                    ClientEffect::Persist(record) => self.journal.push(record),
                    ClientEffect::Send(message) => wishes.push(Wish::Say(*message)),
                    ClientEffect::Train(job) => inputs.push(ClientInput::Trained { at: job.at, ok: true }),
                    ClientEffect::Mask(job) => {
                        let at = job.at;
                        let digest = self.mask(*job, rng, contribute);
                        inputs.push(ClientInput::Masked { at, digest: Some(digest) });
                    }
                    ClientEffect::Upload(header) => wishes.push(Wish::Upload(header)),
                    ClientEffect::Forget(at) => {
                        self.masked.remove(&at);
                    }
                }
            }
        }
        wishes
    }

    fn mask(
        &mut self,
        job: MaskJob,
        rng: &mut dyn CryptoRng,
        contribute: &mut dyn FnMut(ClientId, Attempt) -> identity::Contribution,
    ) -> Digest {
        let mechanism = job.plan.mechanism().expect("a validated plan");
        let protected =
            mechanism.protect(contribute(self.id, job.at), rng).expect("a contribution within bounds");
        let lanes = protected.update.into_lanes();
        self.plaintext.insert(job.at, lanes.clone());
        let masked = job.masking.mask(lanes);
        let digest = Digest::from_bytes(masked.digest());
        self.masked.insert(job.at, masked);
        digest
    }
}
