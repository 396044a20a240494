//! What is in the file.

use std::collections::{BTreeMap, BTreeSet};

use identity::Role;
use params::Digest;
use secagg::ClientId;
use serde::{Deserialize, Serialize};

use crate::denied::{Bar, DeniedSet};

/// Everything, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    pub(super) tokens: Vec<Token>,
    pub(super) requests: Vec<Request>,
    pub(super) denied: Vec<Denial>,
    /// The identity key of every silo that was ever a member, by its number: a number is never another silo's.
    pub(super) members: BTreeMap<ClientId, String>,
    pub(super) incidents: Vec<Incident>,
    /// Bars that were lifted, oldest first. From version 2 of the file on, as all that follows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) lifted: Vec<Lifted>,
    /// Names that an administrator's certificate was issued for.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) admins: BTreeSet<String>,
    /// Names that any other operator's certificate was issued for.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) operators: BTreeSet<String>,
}

/// A join token or an operator's token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// `identity::secret_hash` of its secret.
    pub secret_hash: Digest,
    /// What it is good for.
    pub purpose: Purpose,
    /// Seconds since the Unix epoch.
    pub expires_s: u64,
    /// What became of it.
    pub state: TokenState,
}

impl Token {
    /// The first 8 hexadecimal digits of its hash: names it in commands.
    pub fn id(&self) -> String {
        self.secret_hash.as_bytes().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }

    /// `good`, `used`, `expired` or `withdrawn`.
    pub fn standing(&self, now_s: u64) -> &'static str {
        match self.state {
            TokenState::Withdrawn { .. } => "withdrawn",
            TokenState::Used { .. } => "used",
            TokenState::Good if now_s >= self.expires_s => "expired",
            TokenState::Good => "good",
        }
    }
}

/// What a token is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Purpose {
    /// One request for admission of a silo of this name.
    Silo { name: String },
    /// Calls of an operator.
    Operator { name: String, role: Role },
}

/// What became of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TokenState {
    /// It may be used until it expires.
    Good,
    /// A request for admission used it.
    Used {
        /// The identity key that did, hexadecimal.
        identity_key: String,
    },
    /// An administrator took it back.
    Withdrawn { by: String },
}

/// A silo's request for admission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub(super) name: String,
    /// In hexadecimal digits.
    pub(super) identity_key: String,
    /// PKCS#10, DER, hexadecimal.
    pub(super) certificate_request: String,
    /// Hash of the secret of the token that was used.
    pub(super) token: Digest,
    pub(super) first_seen_s: u64,
    pub(super) state: RequestState,
}

/// What became of a request for admission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RequestState {
    /// Nobody has decided.
    Awaiting,
    /// A signed roster names it.
    Admitted,
    /// An administrator said no.
    Refused { reason: String },
}

/// Who is barred.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Whom {
    Client(ClientId),
    /// One certificate, by the SHA-256 of its DER bytes.
    Certificate(Digest),
    /// An operator, whatever it shows.
    Operator(String),
}

/// One barred caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denial {
    pub whom: Whom,
    /// Why, for people.
    pub reason: String,
    /// Who barred it.
    pub by: String,
    /// When. Seconds since the Unix epoch.
    pub time_s: u64,
    /// Whether it left the roster, so that a roster that names it again lifts this.
    pub left: bool,
    /// Whether somebody barred it who is no administrator.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspension: bool,
}

/// A bar that an administrator lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lifted {
    pub denial: Denial,
    /// Why it was lifted, for people.
    pub reason: String,
    /// Who lifted it.
    pub by: String,
    /// When. Seconds since the Unix epoch.
    pub time_s: u64,
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// A record of something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// Such as `INC-0001`.
    pub id: String,
    /// What happened, in a line.
    pub title: String,
    /// When it was opened. Milliseconds since the Unix epoch.
    pub opened_ms: u64,
    /// Who opened it.
    pub opened_by: String,
    /// What was noted, oldest first; the last one of a closed incident is how it was resolved.
    pub notes: Vec<IncidentNote>,
    /// When it was closed; absent while it is open.
    pub closed_ms: Option<u64>,
}

/// A note of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentNote {
    /// When. Milliseconds since the Unix epoch.
    pub time_ms: u64,
    pub by: String,
    pub text: String,
}

impl State {
    pub(super) fn denied_set(&self) -> DeniedSet {
        let mut set = DeniedSet::default();
        for denial in &self.denied {
            let bar = Bar { reason: denial.reason.clone(), suspension: denial.suspension };
            match &denial.whom {
                Whom::Client(id) => drop(set.clients.insert(*id, bar)),
                Whom::Certificate(fingerprint) => drop(set.certificates.insert(*fingerprint, bar)),
                Whom::Operator(name) => drop(set.operators.insert(name.clone(), bar)),
            }
        }
        for token in &self.tokens {
            if let TokenState::Withdrawn { by } = &token.state {
                set.tokens.insert(token.id(), format!("its token was withdrawn by {by}"));
            }
        }
        set
    }

    /// The first version of the file that can hold this.
    pub(super) fn version(&self) -> u32 {
        let newer = !(self.lifted.is_empty() && self.admins.is_empty() && self.operators.is_empty());
        if newer || self.denied.iter().any(|denial| denial.suspension) { 2 } else { 1 }
    }

    /// Whether this silo, certificate or operator is barred.
    pub(super) fn bars(&self, whom: &Whom) -> bool {
        self.denied.iter().any(|denial| denial.whom == *whom)
    }
}
