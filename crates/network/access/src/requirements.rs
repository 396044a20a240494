//! The one table of who may call what.

use identity::Role::{self, Admin, Auditor, Author, Client, Operator, Viewer};

/// Who may call an RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// Everybody who reaches the port.
    Anyone,
    /// Whoever showed a certificate of this federation, in whatever role.
    Certificate,
    /// A caller in one of these roles.
    AnyOf(&'static [Role]),
}

/// How often an RPC may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RateClass {
    /// Health and reflection: probes ask every few seconds.
    Probe,
    /// Admission: a silo that waits for approval asks now and then.
    Admission,
    /// What silos do in a round, and whoever follows it: often, and for thousands of rounds.
    Round,
    /// Reading status, models and evidence.
    Read,
    /// What an administrator or an operator does by hand or in a script.
    Change,
}

/// What is required of the callers of one RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallRule {
    /// Its path, as HTTP/2 carries it.
    pub path: &'static str,
    /// Who may call it.
    pub requirement: Requirement,
    pub rate: RateClass,
    /// Whether each call is recorded, and not its refusals only.
    pub recorded: bool,
    /// Whether it goes on until its caller ends it.
    pub endless: bool,
}

/// Only silos take part in rounds and witness the log: an administrator has no identity on the roster to do it with.
const SILOS: Requirement = Requirement::AnyOf(&[Client]);
/// Models are what everybody of the federation works for.
const MEMBERS: Requirement = Requirement::AnyOf(&[Admin, Operator, Author, Auditor, Viewer, Client]);
/// The status shows every silo's name, state and reasons: people's business, not other silos'.
const PEOPLE: Requirement = Requirement::AnyOf(&[Admin, Operator, Author, Auditor, Viewer]);
/// Whoever writes plans has them run.
const AUTHORS: Requirement = Requirement::AnyOf(&[Admin, Author]);
/// Evidence is for those who check it, and for those who must act on it.
const EVIDENCE: Requirement = Requirement::AnyOf(&[Admin, Operator, Auditor]);
/// What must be possible at night, when something is wrong: it stops or bars, and grants nobody anything.
const EMERGENCY: Requirement = Requirement::AnyOf(&[Admin, Operator]);
/// What grants access or changes keys.
const ADMINISTRATION: Requirement = Requirement::AnyOf(&[Admin]);

const fn row(path: &'static str, requirement: Requirement, rate: RateClass) -> CallRule {
    CallRule { path, requirement, rate, recorded: false, endless: false }
}

const fn recorded(path: &'static str, requirement: Requirement, rate: RateClass) -> CallRule {
    CallRule { path, requirement, rate, recorded: true, endless: false }
}

const fn endless(path: &'static str, requirement: Requirement, rate: RateClass) -> CallRule {
    CallRule { path, requirement, rate, recorded: false, endless: true }
}

/// Every RPC that the coordinator serves. An RPC that is not here is served to nobody.
pub const REQUIREMENTS: [CallRule; 44] = [
    endless("/folkmoot.v1.Federation/Session", SILOS, RateClass::Round),
    row("/folkmoot.v1.Federation/BeginUpload", SILOS, RateClass::Round),
    row("/folkmoot.v1.Federation/Upload", SILOS, RateClass::Round),
    row("/folkmoot.v1.Models/FetchModel", MEMBERS, RateClass::Round),
    row("/folkmoot.v1.Models/ListCheckpoints", MEMBERS, RateClass::Round),
    // One call for the evidence of all rounds.
    row("/folkmoot.v1.Models/ListEvidence", MEMBERS, RateClass::Read),
    row("/folkmoot.v1.Operator/Status", PEOPLE, RateClass::Read),
    endless("/folkmoot.v1.Operator/Watch", PEOPLE, RateClass::Read),
    recorded("/folkmoot.v1.Runs/Submit", AUTHORS, RateClass::Change),
    row("/folkmoot.v1.Runs/List", PEOPLE, RateClass::Read),
    row("/folkmoot.v1.Runs/Show", PEOPLE, RateClass::Read),
    // Of its own alone, which the call itself judges.
    recorded("/folkmoot.v1.Runs/Stop", AUTHORS, RateClass::Change),
    recorded("/folkmoot.v1.Admin/RegisterToken", ADMINISTRATION, RateClass::Change),
    recorded("/folkmoot.v1.Admin/ListTokens", ADMINISTRATION, RateClass::Read),
    recorded("/folkmoot.v1.Admin/WithdrawToken", ADMINISTRATION, RateClass::Change),
    recorded("/folkmoot.v1.Admin/IssueOperator", ADMINISTRATION, RateClass::Change),
    // Whoever may bar a member must see who they are.
    recorded("/folkmoot.v1.Admin/ListClients", EMERGENCY, RateClass::Read),
    recorded("/folkmoot.v1.Admin/SubmitRoster", ADMINISTRATION, RateClass::Change),
    recorded("/folkmoot.v1.Admin/RefuseClient", ADMINISTRATION, RateClass::Change),
    recorded("/folkmoot.v1.Admin/RevokeClient", EMERGENCY, RateClass::Change),
    recorded("/folkmoot.v1.Admin/RevokeAccess", EMERGENCY, RateClass::Change),
    recorded("/folkmoot.v1.Admin/ListBars", EMERGENCY, RateClass::Read),
    recorded("/folkmoot.v1.Admin/RestoreClient", ADMINISTRATION, RateClass::Change),
    recorded("/folkmoot.v1.Admin/RestoreAccess", ADMINISTRATION, RateClass::Change),
    recorded("/folkmoot.v1.Admin/Pause", EMERGENCY, RateClass::Change),
    recorded("/folkmoot.v1.Admin/Resume", EMERGENCY, RateClass::Change),
    recorded("/folkmoot.v1.Admin/Quarantine", EMERGENCY, RateClass::Change),
    recorded("/folkmoot.v1.Admin/Rollback", EMERGENCY, RateClass::Change),
    recorded("/folkmoot.v1.Admin/Reconcile", EMERGENCY, RateClass::Change),
    recorded("/folkmoot.v1.Admin/RotateKeys", ADMINISTRATION, RateClass::Change),
    recorded("/folkmoot.v1.Admin/OpenIncident", EMERGENCY, RateClass::Change),
    recorded("/folkmoot.v1.Admin/NoteIncident", EMERGENCY, RateClass::Change),
    recorded("/folkmoot.v1.Admin/CloseIncident", EMERGENCY, RateClass::Change),
    recorded("/folkmoot.v1.Admin/ListIncidents", EVIDENCE, RateClass::Read),
    row("/folkmoot.v1.Audit/Witness", SILOS, RateClass::Round),
    row("/folkmoot.v1.Audit/Cosign", SILOS, RateClass::Round),
    row("/folkmoot.v1.Audit/Entries", EVIDENCE, RateClass::Read),
    // Before it is a member a silo has nothing to show but its token, which the call itself judges.
    row("/folkmoot.v1.Enrolment/DescribeAuthority", Requirement::Anyone, RateClass::Admission),
    recorded("/folkmoot.v1.Enrolment/Join", Requirement::Anyone, RateClass::Admission),
    // The call itself refuses whoever is no silo.
    recorded("/folkmoot.v1.Enrolment/Renew", Requirement::Certificate, RateClass::Admission),
    // Orchestrators probe without an identity, and the contract is public.
    row("/grpc.health.v1.Health/Check", Requirement::Anyone, RateClass::Probe),
    endless("/grpc.health.v1.Health/Watch", Requirement::Anyone, RateClass::Probe),
    endless(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Requirement::Anyone,
        RateClass::Probe,
    ),
    endless(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        Requirement::Anyone,
        RateClass::Probe,
    ),
];

/// The row of an RPC.
pub fn requirement(path: &str) -> Option<&'static CallRule> {
    REQUIREMENTS.iter().find(|row| row.path == path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    fn served() -> BTreeSet<String> {
        let mut paths = BTreeSet::new();
        for bytes in [
            wire::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ] {
            for file in FileDescriptorSet::decode(bytes).unwrap().file {
                for service in &file.service {
                    for method in &service.method {
                        paths.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
                    }
                }
            }
        }
        paths
    }

    #[test]
    fn every_rpc_has_one_row_and_every_row_an_rpc() {
        let rows: BTreeSet<String> = REQUIREMENTS.iter().map(|row| row.path.to_owned()).collect();
        assert_eq!(rows.len(), REQUIREMENTS.len(), "a row is there twice");
        assert_eq!(rows, served());
    }

    #[test]
    fn an_admin_may_do_all_but_take_part_in_rounds_and_every_admin_call_is_recorded() {
        for row in &REQUIREMENTS {
            if let Requirement::AnyOf(roles) = row.requirement {
                assert_eq!(roles.contains(&Admin), roles != [Client], "{}", row.path);
            }
            if row.path.starts_with("/folkmoot.v1.Admin/") {
                assert!(row.recorded, "{}", row.path);
            }
        }
    }

    #[test]
    fn only_an_admin_may_grant() {
        for path in
            ["RegisterToken", "IssueOperator", "SubmitRoster", "RotateKeys", "RestoreClient", "RestoreAccess"]
        {
            let row = requirement(&format!("/folkmoot.v1.Admin/{path}")).unwrap();
            assert_eq!(row.requirement, Requirement::AnyOf(&[Admin]), "{path}");
        }
    }
}
