//! How the commands of the feature `trials` end.

use bench::{BenchError, UtilityError};
use privacy_audit::AuditError;

use super::Failure;
use crate::audit_privacy::AuditPrivacyError;

impl From<AuditError> for Failure {
    fn from(why: AuditError) -> Self {
        match why {
            AuditError::NoRoom { .. }
            | AuditError::NoCanary
            | AuditError::TooMany { .. }
            | AuditError::MembersHoldCanaries
            | AuditError::AnotherPlan
            | AuditError::Mechanism(_)
            | AuditError::Table(_)
            | AuditError::EmptyTable => Self::usage(why),
            AuditError::Chain(_) => Self::verification(why),
            AuditError::EveryCoinSaidNo
            | AuditError::OwnTable(_)
            | AuditError::File(_)
            | AuditError::NoModel
            | AuditError::Sum(_)
            | AuditError::ClipNorm(_)
            | AuditError::Train(_)
            | AuditError::Rehearsal(_)
            | AuditError::Accounting(_)
            | AuditError::Update(_)
            | AuditError::Protect(_) => Self::failed(why),
        }
    }
}

impl From<AuditPrivacyError> for Failure {
    fn from(why: AuditPrivacyError) -> Self {
        match why {
            AuditPrivacyError::Audit(why) => (*why).into(),
            AuditPrivacyError::Input(_)
            | AuditPrivacyError::Demonstration(_)
            | AuditPrivacyError::Table(_) => Self::usage(why),
            AuditPrivacyError::Json(_) => Self::failed(why),
            AuditPrivacyError::Contradicted(_) => Self::verification(why),
        }
    }
}

impl From<BenchError> for Failure {
    fn from(why: BenchError) -> Self {
        match why {
            BenchError::Clients(_) => Self::usage(why),
            BenchError::Plan(why) => why.into(),
            BenchError::Folder(why) => why.into(),
            BenchError::Run(why) => why.into(),
            BenchError::Utility(
                UtilityError::NoData { .. } | UtilityError::NoHospitals | UtilityError::NoHospital,
            ) => Self::usage(why),
            BenchError::Chain(_) => Self::verification(why),
            BenchError::NoTemporary(_)
            | BenchError::Json(_)
            | BenchError::Stopped(_)
            | BenchError::Grew { .. }
            | BenchError::Utility(_) => Self::failed(why),
        }
    }
}
