//! Who is barred, by whose word, and how that ends.
//!
//! An administrator's bar stands until an administrator lifts it. Anybody else who may bar only suspends: at night
//! something must be stoppable, but a stolen token must not end a federation. So a suspension never binds an
//! administrator, and one person makes a few of them an hour.

use std::sync::PoisonError;

use identity::{Role, is_name};
use params::Digest;
use secagg::ClientId;

use super::state::{Denial, Lifted, Purpose, State, TokenState, Whom};
use super::{Registry, text};
use crate::error::RegistryError;

/// Bars that are kept.
const DENIED_MAX: usize = 1 << 12;
/// Lifted bars that are kept: the audit log remembers the older ones.
const LIFTED_MAX: usize = 1 << 12;
/// Suspensions that one person may make within an hour.
const SUSPENSIONS_PER_HOUR: usize = 5;
const HOUR_S: u64 = 3600;
/// Names of callers that are remembered.
const CALLERS_MAX: usize = 1 << 12;

impl Registry {
    /// Bars somebody by an administrator's word, at once and on live connections too.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn deny(&self, whom: Whom, reason: &str, by: &str, now_s: u64) -> Result<(), RegistryError> {
        let reason = text("a reason", reason)?;
        self.change(|state| {
            let denial =
                Denial { whom, reason, by: by.to_owned(), time_s: now_s, left: false, suspension: false };
            state.bar(denial)
        })
    }

    /// Bars somebody by the word of one who is no administrator, until an administrator lifts it. It binds no
    /// administrator.
    ///
    /// # Errors
    /// [`RegistryError`]: for an administrator's name, and for one too many within an hour.
    pub fn suspend(&self, whom: Whom, reason: &str, by: &str, now_s: u64) -> Result<(), RegistryError> {
        let reason = text("a reason", reason)?;
        self.change(|state| {
            if let Whom::Operator(name) = &whom
                && state.is_admin(name)
            {
                return Err(RegistryError::BarsAnAdmin(name.clone()));
            }
            let denial =
                Denial { whom, reason, by: by.to_owned(), time_s: now_s, left: false, suspension: true };
            let made = state.suspensions_since(by, now_s.saturating_sub(HOUR_S));
            state.bar(denial)?;
            if made >= SUSPENSIONS_PER_HOUR {
                return Err(RegistryError::TooManyBars { by: by.to_owned(), most: SUSPENSIONS_PER_HOUR });
            }
            Ok(())
        })
    }

    /// Lifts a bar. A silo that the roster in force does not name stays out until one names it.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn restore(
        &self,
        whom: &Whom,
        on_roster: bool,
        reason: &str,
        by: &str,
        now_s: u64,
    ) -> Result<(), RegistryError> {
        let reason = text("a reason", reason)?;
        self.change(|state| {
            let Some(at) = state.denied.iter().position(|denial| denial.whom == *whom) else {
                return Err(RegistryError::NotBarred(whom.to_string()));
            };
            let denial = state.denied.remove(at);
            if denial.left {
                return Err(RegistryError::LeftTheRoster(whom.to_string()));
            }
            if matches!(whom, Whom::Client(_)) && !on_roster {
                let reason = format!("it is on no roster since it was barred: {}", denial.reason);
                let left = Denial { reason, left: true, suspension: false, ..denial.clone() };
                state.denied.push(left);
            }
            if state.lifted.len() >= LIFTED_MAX {
                state.lifted.remove(0);
            }
            state.lifted.push(Lifted { denial, reason, by: by.to_owned(), time_s: now_s });
            Ok(())
        })
    }

    /// Silos that are out for nothing but that a roster left them out.
    pub fn left(&self) -> Vec<ClientId> {
        let left = |denial: &Denial| match denial.whom {
            Whom::Client(id) if denial.left => Some(id),
            _ => None,
        };
        self.now().denied.iter().filter_map(left).collect()
    }

    /// Bars that administrators have lifted, oldest first.
    pub fn lifted(&self) -> Vec<Lifted> {
        self.now().lifted.clone()
    }

    /// Remembers that a certificate of this role was issued for this name.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn note_operator(&self, name: &str, role: Role) -> Result<(), RegistryError> {
        self.change(|state| {
            let names = if role == Role::Admin { &mut state.admins } else { &mut state.operators };
            names.insert(name.to_owned());
            Ok(())
        })
    }

    /// Remembers until the end of the process that somebody called with an operator's certificate of this name.
    pub(crate) fn saw_operator(&self, name: &str) {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() < CALLERS_MAX && !callers.contains(name) {
            callers.insert(name.to_owned());
        }
    }

    /// Whether a token or a certificate was made for an operator of this name, as far as is remembered: of those that the
    /// first release, `init` or `admin` made, only who has called since the start is known.
    pub fn knows_operator(&self, name: &str) -> bool {
        let state = self.now();
        let token = |purpose: &Purpose| matches!(purpose, Purpose::Operator { name: of, .. } if of == name);
        state.admins.contains(name)
            || state.operators.contains(name)
            || state.tokens.iter().any(|kept| token(&kept.purpose))
            || state.bars(&Whom::Operator(name.to_owned()))
            || self.callers.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
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

impl std::fmt::Display for Whom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client(id) => write!(f, "silo {id}"),
            Self::Certificate(fingerprint) => write!(f, "certificate {fingerprint}"),
            Self::Operator(name) => write!(f, "operator {name}"),
        }
    }
}

impl Denial {
    /// `barred`, `suspended` or `left`.
    pub fn kind(&self) -> &'static str {
        match (self.left, self.suspension) {
            (true, _) => "left",
            (false, true) => "suspended",
            (false, false) => "barred",
        }
    }
}

impl State {
    /// Adds a bar that may take a weaker one's place.
    fn bar(&mut self, denial: Denial) -> Result<(), RegistryError> {
        if let Whom::Client(id) = &denial.whom
            && !self.members.contains_key(id)
        {
            return Err(RegistryError::NoSuch { what: "member", id: id.to_string() });
        }
        let weaker = |old: &Denial| old.left || (old.suspension && !denial.suspension);
        self.denied.retain(|old| !(old.whom == denial.whom && weaker(old)));
        if self.bars(&denial.whom) {
            let (what, id) = match &denial.whom {
                Whom::Client(id) => ("client", id.to_string()),
                Whom::Certificate(fingerprint) => ("certificate", fingerprint.to_string()),
                Whom::Operator(name) => ("operator", name.clone()),
            };
            return Err(RegistryError::Settled { what, id, state: "barred" });
        }
        self.deny(denial)
    }

    pub(super) fn deny(&mut self, denial: Denial) -> Result<(), RegistryError> {
        if self.denied.len() >= DENIED_MAX {
            return Err(RegistryError::Full {
                what: "bars",
                most: DENIED_MAX,
                remedy: "lift those of operators and certificates that have expired since: folkmoot access list",
            });
        }
        self.denied.push(denial);
        Ok(())
    }

    fn is_admin(&self, name: &str) -> bool {
        let token = |purpose: &Purpose| matches!(purpose, Purpose::Operator { name: of, role: Role::Admin } if of == name);
        let withdrawn = |state: &TokenState| matches!(state, TokenState::Withdrawn { .. });
        self.admins.contains(name)
            || self.tokens.iter().any(|kept| token(&kept.purpose) && !withdrawn(&kept.state))
    }

    /// How many somebody has made since then, those too that were lifted.
    fn suspensions_since(&self, by: &str, since_s: u64) -> usize {
        let lifted = self.lifted.iter().map(|lifted| &lifted.denial);
        let recent = |denial: &&Denial| denial.suspension && denial.by == by && denial.time_s > since_s;
        self.denied.iter().chain(lifted).filter(recent).count()
    }
}
