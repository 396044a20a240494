//! An incident's report on a run of any length, from a real guard with its real limits.

use std::io::{BufRead, BufReader, Read};
use std::pin::Pin;
use std::process::{Command, Stdio};

use published::samples::records;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::Router;
use tonic::{Request, Response, Status, Streaming};
use wire::v1::audit_server::{Audit, AuditServer};
use wire::v1::evidence_part::Part;
use wire::v1::models_server::{Models, ModelsServer};
use wire::v1::operator_server::{Operator, OperatorServer};

use super::*;

/// What a coordinator has published, of which nothing lies on a disk, and an audit log with an entry for each record.
#[derive(Clone, Copy)]
pub(crate) struct LongRun {
    pub(crate) rounds: u64,
    pub(crate) last: Last,
}

/// How it sends the last of its records.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Last {
    /// The stream ends with it.
    Ends,
    /// The stream stands still after it.
    Hangs,
    /// It knows no such stream, as the release before.
    Before,
}

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl LongRun {
    pub(crate) fn serve<L>(self, server: Router<L>) -> Router<L> {
        let server = server.add_service(ModelsServer::new(self)).add_service(AuditServer::new(self));
        server.add_service(OperatorServer::new(self))
    }
}

fn record(round: u64, signed: checkpoint::SignedManifest) -> v1::CheckpointRecord {
    v1::CheckpointRecord { round, signed: Some(signed.into()) }
}

#[tonic::async_trait]
impl Models for LongRun {
    type FetchModelStream = BoxStream<v1::ModelChunk>;
    type ListCheckpointsStream = BoxStream<v1::CheckpointRecord>;
    type ListEvidenceStream = BoxStream<v1::EvidencePart>;

    async fn fetch_model(
        &self,
        request: Request<v1::FetchModelRequest>,
    ) -> Result<Response<Self::FetchModelStream>, Status> {
        let request = request.into_inner();
        if request.part() != v1::ModelPart::Card {
            return Err(Status::not_found("no such file"));
        }
        let digest = params::Digest::sha256(b"model");
        let chunks = wire::model_chunks(request.round.unwrap(), digest, b"card".to_vec().into());
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks.map(Ok).collect::<Vec<_>>()))))
    }

    async fn list_checkpoints(
        &self,
        _: Request<v1::ListCheckpointsRequest>,
    ) -> Result<Response<Self::ListCheckpointsStream>, Status> {
        let chain = (0..).zip(records(self.rounds)).map(|(round, signed)| Ok(record(round, signed)));
        Ok(Response::new(Box::pin(tokio_stream::iter(chain))))
    }

    async fn list_evidence(
        &self,
        _: Request<v1::ListEvidenceRequest>,
    ) -> Result<Response<Self::ListEvidenceStream>, Status> {
        let file = |part: v1::ModelPart, data: &'static [u8]| {
            Part::File(v1::PublishedFile { part: part.into(), data: data.into() })
        };
        let chain = (0..).zip(records(self.rounds)).flat_map(move |(round, signed)| {
            use v1::ModelPart::{Card, Evidence, Readme, Signature};
            // A file in two parts, as a long one comes.
            let card = [file(Card, b"ca"), file(Card, b"rd")];
            let others = [Readme, Signature, Evidence].map(|part| file(part, b"{}"));
            std::iter::once(Part::Record(record(round, signed))).chain(card).chain(others)
        });
        let chain = chain.map(|part| Ok(v1::EvidencePart { part: Some(part) }));
        match self.last {
            Last::Ends => Ok(Response::new(Box::pin(tokio_stream::iter(chain)))),
            Last::Hangs => {
                Ok(Response::new(Box::pin(tokio_stream::iter(chain).chain(tokio_stream::pending()))))
            }
            Last::Before => Err(Status::unimplemented("")),
        }
    }
}

#[tonic::async_trait]
impl Audit for LongRun {
    type EntriesStream = BoxStream<v1::AuditEntry>;

    async fn witness(&self, _: Request<v1::WitnessRequest>) -> Result<Response<v1::WitnessReply>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn cosign(&self, _: Request<v1::CosignRequest>) -> Result<Response<v1::CosignReply>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn entries(&self, _: Request<v1::EntriesRequest>) -> Result<Response<Self::EntriesStream>, Status> {
        let entry = |index: u64| Ok(v1::AuditEntry { index, entry: format!("{{\"at\":{index}}}").into() });
        Ok(Response::new(Box::pin(tokio_stream::iter((0..self.rounds).map(entry)))))
    }
}

#[tonic::async_trait]
impl Operator for LongRun {
    type WatchStream = Streaming<v1::RunStatus>;

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::RunStatus>, Status> {
        Ok(Response::new(run_status::samples::shown().into()))
    }

    async fn watch(&self, _: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}

/// A federation with an incident.
fn federation(rounds: u64, last: Last) -> Federation {
    let federation = Federation::with(LongRun { rounds, last });
    federation.run("incident open --title odd --as @admin").unwrap();
    federation
}

#[test]
fn an_incident_is_reported_on_ten_thousand_records_in_one_call_and_the_report_holds() {
    let federation = federation(10_000, Last::Ends);
    let ended = federation.answer("incident report INC-0001 --out r.tar --as admin", "");
    assert_eq!(ended.code, 0, "{}", ended.err);
    // Six files a record; incident, roster, authority, entries, status, versions, certificate, key, index and its signature.
    assert!(ended.out.starts_with("`r.tar`: 60010 files"), "{}", ended.out);
    assert!(ended.err.contains("10000 entries of the audit log\n1000 records\n"), "{}", ended.err);
    let verified = federation.answer("incident verify r.tar", "");
    assert_eq!(verified.code, 0, "{}", verified.err);
    assert!(verified.out.contains("60010 files hold\naudit log: 10000 entries"), "{}", verified.out);
}

#[test]
fn a_coordinator_of_the_release_before_is_asked_for_each_file_as_often_as_it_allows() {
    // Four calls a record: more than may come at once.
    let federation = federation(62, Last::Before);
    federation.run("incident report INC-0001 --out @r --as @admin").unwrap();
    federation.run("incident verify @r").unwrap();
    let card = fs::read(federation.path("r/checkpoints/000061").join(card::CARD_FILE)).unwrap();
    assert_eq!(card, b"card");
}

#[test]
fn a_report_that_is_interrupted_leaves_nothing() {
    let federation = federation(1001, Last::Hangs);
    for out in ["r.tar", "r"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_folkmoot"));
        command.args(["incident", "report", "INC-0001", "--as", "admin", "--out", out]);
        command.current_dir(federation.folder.path()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut program = command.spawn().unwrap();
        let mut said = BufReader::new(program.stderr.take().unwrap());
        let mut lines = said.by_ref().lines().map(Result::unwrap);
        assert!(lines.any(|line| line == "1000 records"), "{out}");
        let pid = rustix::process::Pid::from_child(&program);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert_eq!(program.wait().unwrap().code(), Some(program::FAILED));
        let last: Vec<String> = lines.collect();
        assert!(last.concat().contains("interrupted; nothing was written"), "{last:?}");
        let left = fs::read_dir(federation.folder.path()).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('r')), "{left:?}");
    }
}
