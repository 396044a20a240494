//! Every refusal of this crate: its sentence for people and its code for programs.

use std::time::Duration;

use identity::{Role, RosterError};
use protocol::Rejection;
use secagg::ClientId;
use tonic::{Code, Status};
use vault::VaultError;
use wire::{ServiceError, ToStatus};

/// Why a caller was refused before its call was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// It showed neither a certificate nor a token.
    #[error(
        "{path} needs {needs}, and this caller did not say who it is; connect with a certificate of the federation \
         or send an operator's token"
    )]
    Unauthenticated {
        path: String,
        /// The roles that it needs, in words.
        needs: String,
    },
    /// Its token is none of this federation's.
    #[error("this operator's token is not known here; ask an administrator for one, or send it whole")]
    UnknownToken,
    /// Its token's time is over.
    #[error("this operator's token has expired; ask an administrator for another")]
    TokenExpired,
    /// An administrator withdrew its token.
    #[error("this operator's token was withdrawn; ask an administrator why, or for another")]
    TokenWithdrawn,
    /// The connection outlived the certificate that opened it.
    #[error("the certificate of this connection has expired; renew it and connect again")]
    CertificateExpired,
    /// An administrator barred it.
    #[error("{who} is barred: {reason}; ask the federation's administrator")]
    Denied {
        who: String,
        /// In the administrator's words.
        reason: String,
    },
    /// It has another role.
    #[error("{path} needs {needs}, and {who} has {has}; ask an administrator for that role")]
    WrongRole {
        path: String,
        /// The roles that it needs, in words.
        needs: String,
        who: String,
        /// Its role, in words.
        has: String,
    },
    /// The run is another's.
    #[error("`{run}` was submitted by {whose}, and {who} stops only runs of its own; ask an administrator")]
    NotOwn {
        who: String,
        /// The run's name for people.
        run: String,
        /// Who submitted it.
        whose: String,
    },
    /// It calls too often.
    #[error("{who} calls {path} too often")]
    TooOften {
        who: String,
        path: String,
        /// When the next call is served.
        retry_after: Duration,
    },
    /// Too many of its calls are in progress.
    #[error("{who} has too many calls in progress; end some of them first")]
    TooMany {
        who: String,
        /// When to ask again.
        retry_after: Duration,
    },
    /// It proved nothing, and others come.
    #[error("{who} proved nothing, and this call gives way to others; call again")]
    GaveWay {
        who: String,
        /// When to ask again.
        retry_after: Duration,
    },
    /// It proved nothing, and its call has lasted long enough.
    #[error("{who} proved nothing, and no call of a stranger lasts longer than {} s; call again", most.as_secs())]
    TooLong {
        who: String,
        /// How long one may last.
        most: Duration,
    },
    /// No row of the table names it. Its path is cut: a stranger chose it.
    #[error("{0} is not offered here; install the same release of folkmoot on both sides")]
    UnknownRpc(String),
}

impl ToStatus for AccessError {
    fn code(&self) -> Code {
        match self {
            Self::Unauthenticated { .. }
            | Self::UnknownToken
            | Self::TokenExpired
            | Self::TokenWithdrawn
            | Self::CertificateExpired => Code::Unauthenticated,
            Self::Denied { .. } | Self::WrongRole { .. } | Self::NotOwn { .. } => Code::PermissionDenied,
            Self::TooOften { .. } | Self::TooMany { .. } | Self::GaveWay { .. } => Code::ResourceExhausted,
            Self::TooLong { .. } => Code::DeadlineExceeded,
            Self::UnknownRpc(_) => Code::Unimplemented,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Unauthenticated { .. } => "UNAUTHENTICATED",
            Self::UnknownToken => "ACCESS_TOKEN_UNKNOWN",
            Self::TokenExpired => "ACCESS_TOKEN_EXPIRED",
            Self::TokenWithdrawn => "ACCESS_TOKEN_WITHDRAWN",
            Self::CertificateExpired => "CERTIFICATE_EXPIRED",
            Self::Denied { .. } => "DENIED",
            Self::WrongRole { .. } => "WRONG_ROLE",
            Self::NotOwn { .. } => "NOT_OWN",
            Self::TooOften { .. } => "TOO_OFTEN",
            Self::TooMany { .. } => "TOO_MANY_CALLS",
            Self::GaveWay { .. } => "GAVE_WAY",
            Self::TooLong { .. } => "CALL_TOO_LONG",
            Self::UnknownRpc(_) => "UNKNOWN_RPC",
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooOften { retry_after, .. }
            | Self::TooMany { retry_after, .. }
            | Self::GaveWay { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Unauthenticated { path, needs } => {
                vec![("rpc", path.clone()), ("needs", needs.clone())]
            }
            Self::WrongRole { path, needs, has, .. } => {
                vec![("rpc", path.clone()), ("needs", needs.clone()), ("has", has.clone())]
            }
            Self::TooOften { path, .. } => vec![("rpc", path.clone())],
            _ => Vec::new(),
        }
    }
}

/// Why a request to the registry was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// Nobody made this token here.
    #[error("this join token is not known here; ask the administrator for one of this federation")]
    TokenUnknown,
    /// Its time was over before it was used.
    #[error("this join token has expired; ask the administrator for another")]
    TokenExpired,
    /// An administrator withdrew it.
    #[error("this join token was withdrawn; ask the administrator for another")]
    TokenWithdrawn,
    /// Somebody else used it.
    #[error(
        "this join token was used already, with other keys; if it was not you, tell the administrator that the \
         token was stolen, and ask for another"
    )]
    TokenReplayed,
    /// It was made for another name.
    #[error("this join token is for another silo than `{0}`; use the name that the token was made for")]
    TokenForAnother(String),
    /// The identity key did not sign the request.
    #[error("the identity key did not sign this request; run the enrolment again with the silo's own key")]
    JoinSignature,
    /// A request of the same name is undecided.
    #[error(
        "`{0}` already asks for admission with other keys; an administrator must refuse that request first"
    )]
    NameAwaiting(String),
    /// Somebody else of that name is a member.
    #[error("`{0}` is a member with another identity key; enrol under another name")]
    NameTaken(String),
    /// Two tokens begin alike, or the same one came twice.
    #[error("a token with the id {0} is registered already; create another")]
    TokenRepeated(String),
    /// No such token, request, incident.
    #[error("there is no {what} `{id}`; list them to see what there is")]
    NoSuch {
        /// What was looked for.
        what: &'static str,
        /// Under which name.
        id: String,
    },
    /// It was decided, closed or withdrawn before.
    #[error("{what} `{id}` is {state} already")]
    Settled {
        /// What it is.
        what: &'static str,
        id: String,
        /// What became of it.
        state: &'static str,
    },
    /// The request says something impossible.
    #[error("{0}")]
    Invalid(String),
    /// The registry is full.
    #[error("there are {most} {what} already, the most that are kept; {remedy}")]
    Full {
        what: &'static str,
        most: usize,
        /// What makes room.
        remedy: &'static str,
    },
    /// A member that was barred.
    #[error("silo {0} is barred; ask the federation's administrator")]
    Barred(ClientId),
    /// Not on the roster in force.
    #[error("silo {0} is not on the roster in force; ask the federation's administrator")]
    NotAMember(ClientId),
    /// Only silos renew.
    #[error("a {0}'s certificate is not renewed by this call; ask an administrator to issue another")]
    NotRenewed(String),
    /// The roster is not the authority's, or contradicts the one in force.
    #[error("the roster cannot be put in force: {0}")]
    Roster(String),
    /// A roster that is not newer.
    #[error(
        "the roster's epoch {got} is not above {in_force}, the one in force; sign one with a higher epoch"
    )]
    RosterEpoch {
        /// The one that was sent.
        got: u64,
        /// The one in force.
        in_force: u64,
    },
    /// The authority's signature does not verify.
    #[error("the roster is not signed by this federation's authority; sign it with the authority's key")]
    RosterSignature,
    /// No certificate could be issued.
    #[error("no certificate was issued: {0}")]
    Issue(String),
    /// An operator may not bar an administrator.
    #[error("`{0}` is an administrator, whom only an administrator may bar; ask one")]
    BarsAnAdmin(String),
    /// An operator bars too many.
    #[error(
        "{by} has barred {most} within an hour, the most that one operator may; an administrator may bar more, and can \
         lift what was barred wrongly"
    )]
    TooManyBars { by: String, most: usize },
    /// Somebody says too much of incidents.
    #[error(
        "{by} has added {most} bytes to incidents within an hour, the most that one person may; add more later"
    )]
    TooMuchNoted {
        by: String,
        /// How many bytes.
        most: usize,
    },
    /// Nobody barred it.
    #[error("{0} is not barred; `folkmoot access list` shows who is")]
    NotBarred(String),
    /// It is out since no roster names it.
    #[error(
        "{0} is out because the roster in force does not name it; a roster that names it again lets it in: have it enrol \
         again, or sign one that names it under its old number and key"
    )]
    LeftTheRoster(String),
    /// The file could not be written; nothing changed.
    #[error("the change could not be saved, and was not made; the coordinator's log says why")]
    NotSaved,
}

impl ToStatus for RegistryError {
    fn code(&self) -> Code {
        match self {
            Self::TokenUnknown | Self::JoinSignature => Code::Unauthenticated,
            Self::TokenExpired
            | Self::TokenWithdrawn
            | Self::TokenReplayed
            | Self::TokenForAnother(_)
            | Self::Barred(_)
            | Self::NotAMember(_)
            | Self::NotRenewed(_)
            | Self::RosterSignature
            | Self::BarsAnAdmin(_) => Code::PermissionDenied,
            Self::NameAwaiting(_) | Self::NameTaken(_) | Self::TokenRepeated(_) => Code::AlreadyExists,
            Self::NoSuch { .. } | Self::NotBarred(_) => Code::NotFound,
            Self::LeftTheRoster(_) | Self::Settled { .. } | Self::Roster(_) | Self::RosterEpoch { .. } => {
                Code::FailedPrecondition
            }
            Self::Invalid(_) | Self::Issue(_) => Code::InvalidArgument,
            Self::Full { .. } | Self::TooManyBars { .. } | Self::TooMuchNoted { .. } => {
                Code::ResourceExhausted
            }
            Self::NotSaved => Code::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::TokenUnknown => "JOIN_TOKEN_UNKNOWN",
            Self::TokenExpired => "JOIN_TOKEN_EXPIRED",
            Self::TokenWithdrawn => "JOIN_TOKEN_WITHDRAWN",
            Self::TokenReplayed => "JOIN_TOKEN_REPLAYED",
            Self::TokenForAnother(_) => "JOIN_TOKEN_FOR_ANOTHER",
            Self::JoinSignature => "JOIN_SIGNATURE",
            Self::NameAwaiting(_) => "NAME_AWAITING",
            Self::NameTaken(_) => "NAME_TAKEN",
            Self::TokenRepeated(_) => "TOKEN_REPEATED",
            Self::NoSuch { .. } => "NO_SUCH_ENTRY",
            Self::Settled { .. } => "SETTLED",
            Self::Invalid(_) => "INVALID",
            Self::Full { .. } => "REGISTRY_FULL",
            Self::Barred(_) => "BARRED",
            Self::NotAMember(_) => "NOT_A_MEMBER",
            Self::NotRenewed(_) => "NOT_RENEWED",
            Self::Roster(_) => "ROSTER",
            Self::RosterEpoch { .. } => "ROSTER_EPOCH",
            Self::RosterSignature => "ROSTER_SIGNATURE",
            Self::Issue(_) => "NOT_ISSUED",
            Self::BarsAnAdmin(_) => "BARS_AN_ADMIN",
            Self::TooManyBars { .. } => "TOO_MANY_BARS",
            Self::TooMuchNoted { .. } => "TOO_MUCH_NOTED",
            Self::NotBarred(_) => "NOT_BARRED",
            Self::LeftTheRoster(_) => "LEFT_THE_ROSTER",
            Self::NotSaved => "NOT_SAVED",
        }
    }
}

/// Why the run does not do what the desk asks of it.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// Its rules do not allow it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It does not answer.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// It refuses a roster that the desk let pass.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The roster is not the authority's.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// There are no keys to change.
    #[error("nothing is encrypted here: the configuration has no table [encryption]")]
    NotEncrypted,
    /// The keys cannot be changed.
    #[error(transparent)]
    Keys(#[from] VaultError),
}

impl From<OperationError> for Status {
    fn from(why: OperationError) -> Self {
        match why {
            OperationError::Rejected(why) => why.to_status(),
            OperationError::Service(why) => why.to_status(),
            OperationError::Registry(why) => why.to_status(),
            OperationError::Roster(why) => Self::invalid_argument(why.to_string()),
            OperationError::NotEncrypted | OperationError::Keys(_) => {
                Self::failed_precondition(why.to_string())
            }
        }
    }
}

/// `admin or operator`: roles in a sentence.
pub(crate) fn in_words(roles: &[Role]) -> String {
    match roles {
        [] => "no role".to_owned(),
        [one] => format!("the role {one}"),
        [many @ .., last] => {
            let many: Vec<&str> = many.iter().map(|role| role.name()).collect();
            format!("the role {} or {last}", many.join(", "))
        }
    }
}
