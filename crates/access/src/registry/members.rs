//! Who is a member, who asks to be, and who is barred.

use identity::{Roster, Subject, identity_fingerprint, is_name, parse_verifying_key, spoken};
use params::Digest;
use secagg::ClientId;

use super::state::{Denial, RequestState, State, Whom};
use super::{Registry, text};
use crate::error::RegistryError;

/// Denials that are kept; none is ever forgotten.
const DENIED_MAX: usize = 1 << 12;

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
                    state.deny(Denial { whom, reason, by: by.to_owned(), time_s: now_s, left: true })?;
                }
            }
            Ok(())
        })
    }

    /// Bars somebody, at once and on live connections too.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn deny(&self, whom: Whom, reason: &str, by: &str, now_s: u64) -> Result<(), RegistryError> {
        let reason = text("a reason", reason)?;
        self.change(|state| {
            // Who had left is barred for good now.
            state.denied.retain(|denial| !(denial.left && denial.whom == whom));
            if let Whom::Client(id) = &whom
                && !state.members.contains_key(id)
            {
                return Err(RegistryError::NoSuch { what: "member", id: id.to_string() });
            }
            if state.bars(&whom) {
                let (what, id) = match &whom {
                    Whom::Client(id) => ("client", id.to_string()),
                    Whom::Certificate(fingerprint) => ("certificate", fingerprint.to_string()),
                    Whom::Operator(name) => ("operator", name.clone()),
                };
                return Err(RegistryError::Settled { what, id, state: "barred" });
            }
            state.deny(Denial { whom, reason, by: by.to_owned(), time_s: now_s, left: false })
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

impl Whom {
    /// An operator's name, or a certificate's fingerprint: 64 hexadecimal digits are always the latter.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`].
    pub fn operator_or_certificate(text: &str) -> Result<Self, RegistryError> {
        let mut bytes = [0; 32];
        if hex::decode_to_slice(text, &mut bytes).is_ok() {
            return Ok(Self::Certificate(Digest::from_bytes(bytes)));
        }
        if is_name(text) {
            return Ok(Self::Operator(text.to_owned()));
        }
        Err(RegistryError::Invalid(format!(
            "`{text}` is neither an operator's name nor a certificate's fingerprint of 64 hexadecimal digits"
        )))
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

    fn deny(&mut self, denial: Denial) -> Result<(), RegistryError> {
        if self.denied.len() >= DENIED_MAX {
            return Err(RegistryError::Full {
                what: "denials",
                most: DENIED_MAX,
                mend: "found a new federation, whose authority never signed what these barred",
            });
        }
        self.denied.push(denial);
        Ok(())
    }
}
