//! Who may call what: roles, and the names that transport certificates carry.

use std::fmt;
use std::str::FromStr;

use secagg::ClientId;
use serde::{Deserialize, Serialize};

/// What a caller of the coordinator may do. One caller has one role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Admits and revokes silos and operators, rotates keys; may do all that the others may, but take part in rounds.
    Admin,
    /// Pauses, resumes, quarantines, rolls back, opens incidents.
    Operator,
    Author,
    /// Reads the audit log and the evidence.
    Auditor,
    /// Reads the status and the models.
    Viewer,
    /// A silo: takes part in rounds.
    Client,
}

impl Role {
    /// Every role, the most powerful first.
    pub const ALL: [Self; 6] =
        [Self::Admin, Self::Operator, Self::Author, Self::Auditor, Self::Viewer, Self::Client];

    /// Its name in certificates, tokens and commands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Author => "author",
            Self::Auditor => "auditor",
            Self::Viewer => "viewer",
            Self::Client => "client",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| SubjectError(text.to_owned()))
    }
}

/// Whom a transport certificate was issued to: the text of its one URI name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The coordinator itself.
    Coordinator,
    /// A silo, by its number on the roster.
    Silo(ClientId),
    /// A person or a program with a role.
    Operator {
        /// Its name: letters, digits, `-`, `_` and `.`.
        name: String,
        /// What it may do; never [`Role::Client`].
        role: Role,
    },
}

/// A name or role that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no name or role of a federation; roles are admin, operator, author, auditor and viewer, names have \
     letters, digits, `-`, `_` and `.`, at most 64"
)]
pub struct SubjectError(String);

impl Subject {
    /// The role that it acts in; the coordinator calls nobody.
    pub fn role(&self) -> Option<Role> {
        match self {
            Self::Coordinator => None,
            Self::Silo(_) => Some(Role::Client),
            Self::Operator { role, .. } => Some(*role),
        }
    }

    /// An operator, if the name and the role can be one's.
    ///
    /// # Errors
    /// [`SubjectError`].
    pub fn operator(name: &str, role: Role) -> Result<Self, SubjectError> {
        if !is_name(name) || role == Role::Client {
            return Err(SubjectError(format!("{name}/{role}")));
        }
        Ok(Self::Operator { name: name.to_owned(), role })
    }
}

/// Whether this can name an operator, a silo's folder or a token: no character that a path, a URI or a terminal reads.
/// Unlike a data set's name in a ledger it may begin with `-` or `_`: members and operators may be called so already.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && !text.starts_with('.')
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinator => f.write_str("folkmoot:coordinator"),
            Self::Silo(id) => write!(f, "folkmoot:silo/{id}"),
            Self::Operator { name, role } => write!(f, "folkmoot:operator/{role}/{name}"),
        }
    }
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let none = || SubjectError(text.to_owned());
        let subject = match text.strip_prefix("folkmoot:").ok_or_else(none)? {
            "coordinator" => Self::Coordinator,
            rest => match rest.split_once('/').ok_or_else(none)? {
                ("silo", id) => Self::Silo(ClientId(id.parse().map_err(|_| none())?)),
                ("operator", rest) => {
                    let (role, name) = rest.split_once('/').ok_or_else(none)?;
                    Self::operator(name, role.parse()?)?
                }
                _ => return Err(none()),
            },
        };
        // One spelling only, such as `silo/7` and not `silo/007`.
        if subject.to_string() == text { Ok(subject) } else { Err(none()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_survives_its_own_text_and_has_one_spelling() {
        let alice = Subject::operator("alice", Role::Auditor).unwrap();
        for subject in [Subject::Coordinator, Subject::Silo(ClientId(7)), alice] {
            assert_eq!(subject.to_string().parse::<Subject>().unwrap(), subject);
        }
        for text in [
            "",
            "folkmoot:",
            "folkmoot:silo/",
            "folkmoot:silo/07",
            "folkmoot:silo/+7",
            "folkmoot:silo/4294967296",
            "folkmoot:operator/alice",
            "folkmoot:operator/owner/alice",
            "folkmoot:operator/client/alice",
            "folkmoot:operator/admin/",
            "folkmoot:operator/admin/a/b",
            "folkmoot:operator/admin/..",
            "other:coordinator",
        ] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_silo_is_a_client_and_an_operator_never_is() {
        assert_eq!(Subject::Silo(ClientId(1)).role(), Some(Role::Client));
        assert!(Subject::operator("x", Role::Client).is_err());
        assert_eq!(Subject::Coordinator.role(), None);
    }
}
