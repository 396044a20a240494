//! What happens that an auditor reads of: every action's name, in one list.

/// What happened, as `thing.verb`. Beside these there is an action for each RPC: [`call`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A plan became a run.
    RunStarted,
    /// No round begins before somebody resumes.
    RunPaused,
    /// Rounds begin again.
    RunResumed,
    /// No round follows.
    RunEnded,
    /// A silo takes no part in a run.
    RunRefused,
    /// An attempt at a round began, with these silos.
    RoundOpened,
    /// An attempt came to nothing.
    RoundAborted,
    /// A silo's masked vector is whole at the coordinator.
    UploadReceived,
    /// A model has a signed record.
    ModelPublished,
    /// A model is not to be used.
    ModelQuarantined,
    /// An older model is the newest again.
    ModelRolledBack,
    /// A silo said which version its data has, or that it says none.
    DataDeclared,
    /// A silo is in no round any more.
    SiloBarred,
    /// A silo may be in rounds again.
    SiloRestored,
    /// A silo says that another's shares do not open.
    SiloComplained,
    /// Two silos may be in one round again.
    SilosReconciled,
    /// Another roster is in force.
    RosterSigned,
    /// Calls that have no event of their own.
    CallsLeftOut,
    /// A silo's message is about to leave it.
    MessageSent,
    /// A silo's masked vector is about to leave it.
    UploadSent,
    /// A silo said what holds its trainers, or that it does not say.
    SandboxDeclared,
    /// A silo's table was read for a run. It stays in the silo's own log, as do all below.
    DataOpened,
    /// The files of the table have changed since they were read for a run.
    DataChanged,
    /// Rows or files do not fit a run's plan, and contribute nothing.
    DataMisfit,
    /// The table cannot be used at all.
    DataUnusable,
    /// A process that reads and trains began, behind this much of a sandbox.
    TrainerStarted,
    /// It is gone: by itself, or ended.
    TrainerEnded,
    /// What it was asked for came to nothing.
    TrainerFailed,
    /// The attempt that it trained for was over, and it stopped when it was asked to: nobody's failure.
    TrainingGivenUp,
    /// It answered what no trainer of the plan can.
    TrainerDisbelieved,
    /// What a silo without data would send takes the place of what was trained.
    ContributionReplaced,
    /// What starts trainers is gone.
    SpawnerLost,
}

impl Action {
    /// Every action that is not a call.
    pub const ALL: [Self; 32] = [
        Self::RunStarted,
        Self::RunPaused,
        Self::RunResumed,
        Self::RunEnded,
        Self::RunRefused,
        Self::RoundOpened,
        Self::RoundAborted,
        Self::UploadReceived,
        Self::ModelPublished,
        Self::ModelQuarantined,
        Self::ModelRolledBack,
        Self::DataDeclared,
        Self::SiloBarred,
        Self::SiloRestored,
        Self::SiloComplained,
        Self::SilosReconciled,
        Self::RosterSigned,
        Self::CallsLeftOut,
        Self::MessageSent,
        Self::UploadSent,
        Self::SandboxDeclared,
        Self::DataOpened,
        Self::DataChanged,
        Self::DataMisfit,
        Self::DataUnusable,
        Self::TrainerStarted,
        Self::TrainerEnded,
        Self::TrainerFailed,
        Self::TrainingGivenUp,
        Self::TrainerDisbelieved,
        Self::ContributionReplaced,
        Self::SpawnerLost,
    ];

    /// As entries have it, for ever: logs that are years old are read by these names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RunStarted => "run.started",
            Self::RunPaused => "run.paused",
            Self::RunResumed => "run.resumed",
            Self::RunEnded => "run.ended",
            Self::RunRefused => "run.refused",
            Self::RoundOpened => "round.opened",
            Self::RoundAborted => "round.aborted",
            Self::UploadReceived => "upload.received",
            Self::ModelPublished => "model.published",
            Self::ModelQuarantined => "model.quarantined",
            Self::ModelRolledBack => "model.rolled_back",
            Self::DataDeclared => "data.told",
            Self::SiloBarred => "silo.barred",
            Self::SiloRestored => "silo.restored",
            Self::SiloComplained => "silo.complained",
            Self::SilosReconciled => "silos.reconciled",
            Self::RosterSigned => "roster.signed",
            Self::CallsLeftOut => "calls.left_out",
            Self::MessageSent => "message.sent",
            Self::UploadSent => "upload.sent",
            Self::SandboxDeclared => "sandbox.declared",
            Self::DataOpened => "data.opened",
            Self::DataChanged => "data.changed",
            Self::DataMisfit => "data.misfit",
            Self::DataUnusable => "data.unusable",
            Self::TrainerStarted => "trainer.started",
            Self::TrainerEnded => "trainer.ended",
            Self::TrainerFailed => "trainer.failed",
            Self::TrainingGivenUp => "training.given_up",
            Self::TrainerDisbelieved => "trainer.disbelieved",
            Self::ContributionReplaced => "contribution.replaced",
            Self::SpawnerLost => "spawner.lost",
        }
    }
}

impl From<Action> for String {
    fn from(action: Action) -> Self {
        action.name().to_owned()
    }
}

/// The action of a call, from its RPC's path: `call.Admin.PutRoster` of `/folkmoot.v1.Admin/PutRoster`.
pub fn call(rpc: &str) -> String {
    format!("call.{}", rpc.trim_start_matches('/').replace("folkmoot.v1.", "").replace('/', "."))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_action_has_a_name_of_its_own_and_none_is_a_calls() {
        let names: BTreeSet<&str> = Action::ALL.map(Action::name).into();
        assert_eq!(names.len(), Action::ALL.len());
        for name in names {
            assert!(name.split_once('.').is_some_and(|(thing, _)| thing != "call"), "{name}");
        }
    }

    #[test]
    fn a_call_is_named_by_its_service_and_its_method() {
        assert_eq!(call("/folkmoot.v1.Admin/PutRoster"), "call.Admin.PutRoster");
        assert_eq!(call("/grpc.health.v1.Health/Check"), "call.grpc.health.v1.Health.Check");
    }
}
