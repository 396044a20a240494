//! How a command ends when it does not end well: the exit code for scripts, the sentence for people.

use std::process::ExitCode;

use demo::{DemoFolderError, DemoPlanError, DemoRunError, FollowError, ProcessError};
use identity::with_causes;
use ledger::ReadError;
use operate::{
    AdmissionError, ConnectError, EntriesError, ExtendError, IncidentEvidenceError, MemoryError, ModelsError,
    NewOperatorError, SigningError, Unbelieved, WhichRun,
};
use published::report::{MakingError, ReportFault};
use published::{CheckpointFault, ListingError, MeasuredError};
use runs::ExportError;
use spending::SiloBooksError;
use store::StoreError;
use vault::NewFolderError;

use crate::clients;
use crate::connect;
use crate::demo::DemoError;
use crate::files::{Unusable, WriteError};
use crate::incident::{ReportError, ReportUnverified};
use crate::verify::Unverified;

#[cfg(feature = "trials")]
mod of_trials;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Something went wrong on the way.
    #[error("{0}")]
    Failed(String),
    /// The call, or a file that it names, cannot be meant.
    #[error("{0}")]
    Usage(String),
    /// What was checked is not what was signed.
    #[error("{0}")]
    Verification(String),
    /// No answer came from the coordinator.
    #[error("{0}")]
    Unreachable(String),
}

impl Failure {
    /// The program's exit code for it; documented in `folkmoot --help`.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    pub(crate) fn failed(why: impl ToString) -> Self {
        Self::Failed(why.to_string())
    }

    pub(crate) fn usage(why: impl ToString) -> Self {
        Self::Usage(why.to_string())
    }

    pub(crate) fn verification(why: impl ToString) -> Self {
        Self::Verification(why.to_string())
    }

    /// The same, and what else is to be said of it.
    pub(crate) fn and(self, more: &str) -> Self {
        let words = format!("{self}; {more}");
        self.saying(words)
    }

    /// The same, behind what is to be said first.
    pub(crate) fn before(self, first: &str) -> Self {
        let words = format!("{first}: {self}");
        self.saying(words)
    }

    /// The same in other words.
    fn saying(self, words: String) -> Self {
        match self {
            Self::Failed(_) => Self::Failed(words),
            Self::Usage(_) => Self::Usage(words),
            Self::Verification(_) => Self::Verification(words),
            Self::Unreachable(_) => Self::Unreachable(words),
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Verification(_) => 3,
            Self::Unreachable(_) => 4,
        }
    }
}

impl From<Unusable> for Failure {
    fn from(why: Unusable) -> Self {
        Self::usage(why)
    }
}

impl From<NewFolderError> for Failure {
    fn from(why: NewFolderError) -> Self {
        match why {
            NewFolderError::Taken { .. } => Self::usage(why),
            NewFolderError::Outside { .. } | NewFolderError::Io { .. } => Self::failed(why),
        }
    }
}

impl From<WriteError> for Failure {
    fn from(why: WriteError) -> Self {
        match why {
            WriteError::Folder(why) => why.into(),
            WriteError::KeyTaken { .. } | WriteError::DocumentTaken { .. } => Self::usage(why),
            WriteError::Json(_) | WriteError::Io { .. } => Self::failed(why),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(why: ConnectError) -> Self {
        let words = connect::in_words(&why);
        match why {
            ConnectError::Unusable(_)
            | ConnectError::WhichCoordinator
            | ConnectError::WhichFederation
            | ConnectError::Authority(_)
            | ConnectError::Proxy(_)
            | ConnectError::Tls(_)
            | ConnectError::Token
            | ConnectError::TwoCallers { .. }
            | ConnectError::ShowsNobody { .. }
            | ConnectError::ThisMachineAlone { .. }
            | ConnectError::AnotherMachine { .. }
            | ConnectError::NoScheme { .. }
            | ConnectError::NoAddress { .. } => Self::Usage(words),
            ConnectError::Header(_)
            | ConnectError::Answer(_)
            | ConnectError::Json(_)
            | ConnectError::Clock
            | ConnectError::Refused(_) => Self::Failed(words),
            ConnectError::Unreachable { .. } | ConnectError::Lost(_) => Self::Unreachable(words),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(why: ReadError) -> Self {
        match why {
            ReadError::Sealed { .. } => Self::usage(format!("{why}: name the master key with --master")),
            ReadError::Unusable { .. } | ReadError::Io { .. } | ReadError::Delta => Self::usage(why),
            ReadError::Vault(_) => Self::usage(with_causes(&why)),
            ReadError::Chain { .. } | ReadError::Ledger(_) => Self::verification(with_causes(&why)),
        }
    }
}

impl From<SiloBooksError> for Failure {
    fn from(why: SiloBooksError) -> Self {
        match why {
            SiloBooksError::Ledger(why) => why.into(),
            why => Self::usage(with_causes(&why)),
        }
    }
}

impl From<ListingError> for Failure {
    fn from(why: ListingError) -> Self {
        match why {
            ListingError::NoFolder { .. } | ListingError::Unreadable { .. } => Self::failed(why),
            ListingError::Unsignable { .. } | ListingError::TooMany { .. } => Self::verification(why),
        }
    }
}

impl From<CheckpointFault> for Failure {
    fn from(why: CheckpointFault) -> Self {
        match why {
            CheckpointFault::Sealed { .. } => Self::usage(why),
            why => Self::verification(why),
        }
    }
}

impl From<ExportError> for Failure {
    fn from(why: ExportError) -> Self {
        match why {
            ExportError::Store(StoreError::Vault { .. }) => Self::verification(with_causes(&why)),
            ExportError::Store(_) | ExportError::Folders(_) => Self::failed(with_causes(&why)),
            ExportError::New(why) => why.into(),
        }
    }
}

impl From<MeasuredError> for Failure {
    fn from(why: MeasuredError) -> Self {
        match why {
            MeasuredError::Version(why) => why.into(),
            MeasuredError::Folder(why) => why.into(),
            MeasuredError::Unread(_) | MeasuredError::Card { .. } | MeasuredError::AnotherModel { .. } => {
                Self::usage(why)
            }
            MeasuredError::Unwritten(_) | MeasuredError::Bundle(_) | MeasuredError::Evidence(_) => {
                Self::failed(why)
            }
        }
    }
}

impl From<Unverified> for Failure {
    fn from(why: Unverified) -> Self {
        match why {
            Unverified::Key(_) | Unverified::Against(_) => Self::usage(why),
            Unverified::Chain(why) => why.into(),
            Unverified::Runs { .. } => Self::verification(why),
        }
    }
}

impl From<forecast::ForecastError> for Failure {
    fn from(why: forecast::ForecastError) -> Self {
        Self::usage(why)
    }
}

impl From<Unbelieved> for Failure {
    fn from(why: Unbelieved) -> Self {
        Self::verification(why)
    }
}

impl From<AdmissionError> for Failure {
    fn from(why: AdmissionError) -> Self {
        match why {
            AdmissionError::NobodyAsks { .. }
            | AdmissionError::TwoAsk { .. }
            | AdmissionError::NameTaken { .. }
            | AdmissionError::NoMember { .. }
            | AdmissionError::SeveralFormer { .. } => Self::usage(why),
            AdmissionError::NumberTaken { .. } => Self::usage(format!("--number: {why}")),
            AdmissionError::NoNumberLeft => Self::failed(why),
            AdmissionError::Key { .. } | AdmissionError::AnotherMember { .. } => Self::verification(why),
        }
    }
}

impl From<SigningError> for Failure {
    fn from(why: SigningError) -> Self {
        let words = clients::in_words(&why);
        match why {
            SigningError::Unusable(_)
            | SigningError::Sealed(_)
            | SigningError::Unsound(_)
            | SigningError::Unfollowing { .. } => Self::Usage(words),
            SigningError::Call(why) => why.into(),
            SigningError::Unbelieved(_)
            | SigningError::Doubtful { .. }
            | SigningError::AnotherShown { .. }
            | SigningError::TakenAndNotShown { .. }
            | SigningError::NotTheLast { .. } => Self::Verification(words),
            SigningError::NoEpoch(_) | SigningError::Meanwhile | SigningError::Unremembered(_) => {
                Self::Failed(words)
            }
            SigningError::TakenUnremembered { why, .. } => match *why {
                MemoryError::Unusable(_) => Self::Usage(words),
                MemoryError::Store(_) => Self::Failed(words),
            },
            SigningError::NotTaken { why, .. } | SigningError::Unknown { why, .. } => {
                Self::from(why).saying(words)
            }
        }
    }
}

impl From<WhichRun> for Failure {
    fn from(why: WhichRun) -> Self {
        match why {
            WhichRun::Call(why) => why.into(),
            WhichRun::None { .. } | WhichRun::Several { .. } | WhichRun::NotSaid { .. } => Self::usage(why),
        }
    }
}

impl From<ExtendError> for Failure {
    fn from(why: ExtendError) -> Self {
        match why {
            ExtendError::Call(why) => why.into(),
            ExtendError::Models(why) => why.into(),
            ExtendError::Plan(_) | ExtendError::AnotherPlan => Self::verification(why),
            ExtendError::NotOver { .. } | ExtendError::NoRound(_) | ExtendError::Meaning(_) => {
                Self::usage(why)
            }
        }
    }
}

impl From<NewOperatorError> for Failure {
    fn from(why: NewOperatorError) -> Self {
        match why {
            NewOperatorError::Key(_) => Self::failed(why),
            NewOperatorError::Call(why) => why.into(),
            NewOperatorError::Leaf(_) | NewOperatorError::Another { .. } => Self::verification(why),
            NewOperatorError::Unfit(why) => Self::verification(with_causes(&why)),
        }
    }
}

impl From<ModelsError> for Failure {
    fn from(why: ModelsError) -> Self {
        match why {
            ModelsError::Call(why) => why.into(),
            ModelsError::Quarantined { .. } => Self::usage(format!(
                "{why}; name another round, or add --quarantined to look at it all the same"
            )),
            why => Self::verification(why),
        }
    }
}

impl From<ReportError> for Failure {
    fn from(why: ReportError) -> Self {
        match why {
            ReportError::Exists { .. } | ReportError::NoCredentials | ReportError::Key(_) => Self::usage(why),
            ReportError::Call(why) => why.into(),
            ReportError::Which(why) => why.into(),
            ReportError::Evidence(why) => why.into(),
            ReportError::Making(why) => why.into(),
            ReportError::Stopped(_) => Self::failed(why),
        }
    }
}

impl From<IncidentEvidenceError> for Failure {
    fn from(why: IncidentEvidenceError) -> Self {
        match why {
            IncidentEvidenceError::NoIncident { .. } => Self::usage(why),
            IncidentEvidenceError::Call(why) | IncidentEvidenceError::Entries(EntriesError::Call(why)) => {
                why.into()
            }
            IncidentEvidenceError::Models(why) => why.into(),
            IncidentEvidenceError::Roster(why) => why.into(),
            IncidentEvidenceError::Coordinator(_)
            | IncidentEvidenceError::Entries(EntriesError::NoEntry { .. }) => Self::verification(why),
            IncidentEvidenceError::Making(why) => why.into(),
            IncidentEvidenceError::Json(_) => Self::failed(why),
        }
    }
}

impl From<MakingError> for Failure {
    fn from(why: MakingError) -> Self {
        match why {
            MakingError::Folder(why) => why.into(),
            why => Self::failed(why),
        }
    }
}

impl From<ReportUnverified> for Failure {
    fn from(why: ReportUnverified) -> Self {
        match why {
            ReportUnverified::Key(why) => why.into(),
            ReportUnverified::Bad { why: ReportFault::Folder(why), .. } => why.into(),
            ReportUnverified::Bad { why: ReportFault::Unreadable { .. }, .. } => Self::usage(why),
            ReportUnverified::Bad { why: ReportFault::Authority(why), .. } => Self::usage(why),
            ReportUnverified::Bad { .. } => Self::verification(why),
        }
    }
}

impl From<DemoPlanError> for Failure {
    fn from(why: DemoPlanError) -> Self {
        Self::usage(why)
    }
}

impl From<DemoFolderError> for Failure {
    fn from(why: DemoFolderError) -> Self {
        match why {
            DemoFolderError::Unusable { .. } | DemoFolderError::NotEmpty { .. } => Self::usage(why),
            DemoFolderError::NoTemporary(_)
            | DemoFolderError::Unwritable { .. }
            | DemoFolderError::Json(_)
            | DemoFolderError::Toml(_) => Self::failed(why),
        }
    }
}

impl From<ProcessError> for Failure {
    fn from(why: ProcessError) -> Self {
        Self::failed(why)
    }
}

impl From<FollowError> for Failure {
    fn from(why: FollowError) -> Self {
        match why {
            FollowError::Models(why) => why.into(),
            FollowError::Model(_) => Self::verification(why),
            FollowError::HeldOut(_) | FollowError::Stopped(_) | FollowError::Evaluation(_) => {
                Self::failed(why)
            }
        }
    }
}

impl From<DemoRunError> for Failure {
    fn from(why: DemoRunError) -> Self {
        match why {
            DemoRunError::Folder(why) => why.into(),
            DemoRunError::Process(why) => why.into(),
            DemoRunError::Call(why) => why.into(),
            DemoRunError::Follow(why) => why.into(),
            DemoRunError::NotFollowed => Self::failed(why),
        }
    }
}

impl From<DemoError> for Failure {
    fn from(why: DemoError) -> Self {
        match why {
            DemoError::Clients(_)
            | DemoError::Plan(_)
            | DemoError::KillTooLate { .. }
            | DemoError::KillOfThree => Self::usage(why),
            DemoError::Folder(why) => why.into(),
            DemoError::Run(why) => why.into(),
            DemoError::Chain(_) | DemoError::AnotherModel => Self::verification(why),
            DemoError::NoCheckpoint
            | DemoError::Unwritable { .. }
            | DemoError::Json(_)
            | DemoError::Stopped(_) => Self::failed(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_the_documented_code() {
        let kinds = [
            Failure::failed(""),
            Failure::usage(""),
            Failure::verification(""),
            Failure::Unreachable(String::new()),
        ];
        assert_eq!(kinds.map(|kind| kind.code()), [1, 2, 3, 4]);
    }

    #[test]
    fn a_call_that_cannot_be_meant_one_that_is_refused_and_one_that_nobody_answers_have_their_own_codes() {
        let url = "http://192.0.2.1:1".to_owned();
        let elsewhere = Failure::from(ConnectError::AnotherMachine { url });
        assert!(matches!(&elsewhere, Failure::Usage(text) if text.contains("--as FOLDER")), "{elsewhere}");
        assert!(matches!(ConnectError::Lost("gone".into()).into(), Failure::Unreachable(_)));
        assert!(matches!(ConnectError::Refused("no".into()).into(), Failure::Failed(_)));
        assert!(matches!(ModelsError::Stream(wire::FileError::Empty).into(), Failure::Verification(_)));
    }
}
