//! Who is a member, and who asks to be.

use identity::{Roster, Subject, identity_fingerprint, parse_verifying_key, spoken};
use secagg::ClientId;

use super::Registry;
use super::state::{Denial, RequestState, State, Whom};
use crate::error::RegistryError;

/// A request for admission, as an administrator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The silo's name.
    pub name: String,
    /// Its identity key, hexadecimal.
    pub identity_key: String,
    /// To be compared with what the silo shows.
    pub fingerprint: String,
    /// When it asked first. Seconds since the Unix epoch.
    pub first_seen_s: u64,
    /// What became of it.
    pub state: RequestState,
}

impl Registry {
    /// Every request for admission that is kept.
    pub fn admissions(&self) -> Vec<Admission> {
        let shown = |name: &str, key: &str| {
            parse_verifying_key(key)
                .map_or_else(|_| String::new(), |key| spoken(&identity_fingerprint(name, &key)))
        };
        self.now()
            .requests
            .iter()
            .map(|request| Admission {
                name: request.name.clone(),
                identity_key: request.identity_key.clone(),
                fingerprint: shown(&request.name, &request.identity_key),
                first_seen_s: request.first_seen_s,
                state: request.state.clone(),
            })
            .collect()
    }

    /// The name under which whoever has this number asked to join, also where no roster names it any more; nothing of a silo that
    /// never asked, as one that the first roster named.
    pub fn enrolled_name(&self, id: ClientId) -> Option<String> {
        let state = self.now();
        let key = state.members.get(&id)?;
        state.requests.iter().find(|request| request.identity_key == *key).map(|request| request.name.clone())
    }

    /// Whether a roster can follow on what this federation had: a number that was ever a silo's stays that silo's.
    ///
    /// # Errors
    /// [`RegistryError::Roster`].
    pub fn check_roster(&self, roster: &Roster) -> Result<(), RegistryError> {
        self.now().check_roster(roster)
    }

    /// Takes note of the roster in force: its members are admitted, and who is missing is barred. Who was barred only
    /// for being missing is let in again; who was barred by an administrator is not.
    ///
    /// Done again with the same roster it changes nothing, so that a start after a crash completes what was begun.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn settle_roster(&self, roster: &Roster, by: &str, now_s: u64) -> Result<(), RegistryError> {
        self.change(|state| {
            state.check_roster(roster)?;
            let named = |name: &str, key: &str| {
                roster.members.values().any(|member| member.name == name && member.identity_key == key)
            };
            for request in &mut state.requests {
                if named(&request.name, &request.identity_key) {
                    request.state = RequestState::Admitted;
                }
            }
            for (id, member) in &roster.members {
                state.members.insert(*id, member.identity_key.clone());
            }
            let present = |whom: &Whom| matches!(whom, Whom::Client(id) if roster.members.contains_key(id));
            state.denied.retain(|denial| !(denial.left && present(&denial.whom)));
            let gone: Vec<ClientId> =
                state.members.keys().filter(|id| !roster.members.contains_key(id)).copied().collect();
            for id in gone {
                let whom = Whom::Client(id);
                if !state.bars(&whom) {
                    let reason = format!("it left the federation with epoch {} of the roster", roster.epoch);
                    state.deny(Denial {
                        whom,
                        reason,
                        by: by.to_owned(),
                        time_s: now_s,
                        left: true,
                        suspension: false,
                    })?;
                }
            }
            Ok(())
        })
    }

    /// Whether this subject may have a fresh certificate under this roster.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn may_renew(&self, subject: &Subject, roster: &Roster) -> Result<(), RegistryError> {
        match subject {
            Subject::Silo(id) => self.check_member(*id, roster),
            Subject::Operator { .. } => Err(RegistryError::NotRenewed("person or a program".into())),
            Subject::Coordinator => Err(RegistryError::NotRenewed("coordinator".into())),
        }
    }

    /// Whether this silo is a member that nobody barred.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn check_member(&self, id: ClientId, roster: &Roster) -> Result<(), RegistryError> {
        if !roster.members.contains_key(&id) {
            return Err(RegistryError::NotAMember(id));
        }
        if self.now().bars(&Whom::Client(id)) {
            return Err(RegistryError::Barred(id));
        }
        Ok(())
    }

    /// Whether an operator of this name may be given access.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn check_operator(&self, name: &str) -> Result<(), RegistryError> {
        self.now().refuse_barred_operator(name)
    }
}

impl State {
    fn check_roster(&self, roster: &Roster) -> Result<(), RegistryError> {
        for (id, member) in &roster.members {
            if self.members.get(id).is_some_and(|key| *key != member.identity_key) {
                return Err(RegistryError::Roster(format!(
                    "the number {id} was another silo's before; give `{}` a number that nobody had",
                    member.name
                )));
            }
        }
        Ok(())
    }
}
