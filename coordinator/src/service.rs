//! The gRPC services: they check shapes and identities, and hand everything else to the driver.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use access::{Caller, Denied};
use ed25519_dalek::SigningKey;
use federation::RunNumber;
use identity::{AuthorisedRoster, Subject};
use params::Digest;
use protocol::{OfRun, SessionVersion, UploadHeader};
use rand_core::{Rng, UnwrapErr};
use secagg::ClientId;
use store::StageWriter;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::block_in_place;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wire::v1::federation_server::{Federation, FederationServer};
use wire::v1::models_server::{Models, ModelsServer};
use wire::v1::operator_server::{Operator, OperatorServer};
use wire::{Challenge, Hello, ServiceError, ToStatus, UploadVerifier, limits, v1};

use crate::board::{Board, OnBoard, Watched};
use crate::events::{Event, Staging};
use crate::library::Library;
use crate::outbox::Outbox;
use crate::sessions::SessionId;
use crate::streaming::BoxStream;
use crate::talk::Talk;

/// The answer to a client that came too early; a hint, by which nothing is judged.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(200);

/// All services; cheap to clone.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) inbox: mpsc::Sender<Event>,
    pub(crate) board: watch::Receiver<Option<Arc<Board>>>,
    pub(crate) roster: watch::Receiver<Arc<AuthorisedRoster>>,
    pub(crate) denied: Denied,
    /// Signs what is said first.
    pub(crate) key: Arc<SigningKey>,
    pub(crate) metrics: Arc<telemetry::Metrics>,
    pub(crate) library: Library,
    pub(crate) talk: Talk,
    /// The number of the next session.
    pub(crate) sessions: Arc<AtomicU64>,
    /// How long a peer that owes a message may be silent: the plan's.
    pub(crate) patience: Duration,
    /// Turns true when the daemon is to end.
    pub(crate) stopped: watch::Receiver<bool>,
}

impl Services {
    pub(crate) fn federation(&self) -> FederationServer<Self> {
        FederationServer::new(self.clone()).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn models(&self) -> ModelsServer<Self> {
        ModelsServer::new(self.clone()).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn operator(&self) -> OperatorServer<Self> {
        OperatorServer::new(self.clone()).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    /// What a peer owes; none where it was silent for too long.
    async fn owed<T>(&self, next: impl Future<Output = T>) -> Result<Option<T>, Status> {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            next = tokio::time::timeout(self.patience, next) => Ok(next.ok()),
            // Where nobody can stop the daemon any more, it is stopped.
            _ = stopped.wait_for(|stopped| *stopped) => Err(stopping()),
        }
    }

    /// Why the driver let go of a session.
    fn over(&self) -> Status {
        if *self.stopped.borrow() {
            return stopping();
        }
        Status::aborted("the session was replaced by a newer one, or was not read")
    }

    async fn tell(&self, event: Event) -> Result<(), Status> {
        self.inbox.send(event).await.map_err(|_| stopping())
    }

    /// Asks the driver; its answer comes after everything it acknowledges is durable.
    async fn ask<T>(&self, event: impl FnOnce(oneshot::Sender<T>) -> Event) -> Result<T, Status> {
        let (reply, answer) = oneshot::channel();
        self.tell(event(reply)).await?;
        answer.await.map_err(|_| stopping())
    }

    /// Reads and checks the client's first message.
    async fn greet(
        &self,
        challenge: Challenge,
        caller: Option<&Caller>,
        inbound: &mut Streaming<v1::ClientEnvelope>,
    ) -> Result<(ClientId, SessionVersion), Status> {
        let first = self
            .owed(inbound.message())
            .await?
            .ok_or_else(|| Status::deadline_exceeded("the client did not say hello in time"))??
            .ok_or_else(|| Status::invalid_argument("the session ended before hello"))?;
        let hello = Hello::try_from(first).map_err(|why| why.to_status())?;
        let roster = Arc::clone(&self.roster.borrow());
        let key = roster
            .keys()
            .get(&hello.client)
            .ok_or_else(|| protocol::Rejection::UnknownClient(hello.client).to_status())?;
        let version = challenge.verify(&hello, key).map_err(|why| why.to_status())?;
        check_caller(caller, hello.client)?;
        self.talk.begins(hello.client)?;
        if version < SessionVersion::NEWEST {
            tracing::warn!(
                client = %hello.client,
                code = SessionVersion::OLDER_PEER,
                "is served in protocol version {version}; install this release there"
            );
        }
        Ok((hello.client, version))
    }

    /// Reads a session to its end.
    async fn listen(
        &self,
        client: ClientId,
        session: SessionId,
        version: SessionVersion,
        inbound: &mut Streaming<v1::ClientEnvelope>,
    ) -> Result<(), Status> {
        while let Some(envelope) = inbound.message().await? {
            self.talk.says(client, &envelope, self.newest_round(&envelope))?;
            let said = OfRun::try_from(envelope).and_then(|said| wire::said_in(version, said));
            let message = Box::new(said.map_err(|why| why.to_status())?);
            self.tell(Event::Said { client, session, message }).await?;
        }
        Ok(())
    }

    /// A stream that stands still is ended: it keeps its vector from the stream that goes on with it.
    async fn next_chunk(
        &self,
        chunks: &mut Streaming<v1::UploadChunk>,
    ) -> Result<Option<v1::UploadChunk>, Status> {
        self.owed(chunks.message()).await?.ok_or_else(|| {
            let seconds = self.patience.as_secs_f64();
            Status::aborted(format!(
                "no part of the upload arrived for {seconds} s; send the rest in a new stream"
            ))
        })?
    }

    async fn begin(&self, header: OfRun<UploadHeader>) -> Result<Staging, Status> {
        self.ask(|reply| Event::BeginUpload { header: Box::new(header), reply }).await?
    }

    async fn receive(
        &self,
        header: &UploadHeader,
        mut writer: Box<dyn StageWriter>,
        chunks: &mut Streaming<v1::UploadChunk>,
    ) -> Result<(), Status> {
        let mut verifier = UploadVerifier::new(header);
        block_in_place(|| resume(&mut verifier, writer.as_ref()))?;
        while let Some(chunk) = self.next_chunk(chunks).await? {
            let bytes = verifier.accept(chunk).map_err(|why| why.to_status())?;
            self.metrics.bytes_received.inc_by(bytes.len() as u64);
            block_in_place(|| writer.append(&bytes)).map_err(not_staged)?;
        }
        if let Err(why) = verifier.finish() {
            // A stream that broke off resumes where it stopped; a whole that is wrong begins again.
            if matches!(why, wire::ChunkError::WholeDigest) {
                block_in_place(|| writer.restart()).map_err(not_staged)?;
            }
            return Err(why.to_status());
        }
        block_in_place(|| writer.commit()).map_err(not_staged)
    }
}

#[tonic::async_trait]
impl Federation for Services {
    type SessionStream = BoxStream<v1::ServerEnvelope>;

    async fn session(
        &self,
        request: Request<Streaming<v1::ClientEnvelope>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let mut inbound = request.into_inner();
        let (outbox, unread, over) = Outbox::open();
        let (failed, failure) = oneshot::channel();
        let services = self.clone();
        let mut nonce = [0u8; 32];
        UnwrapErr(rand::rngs::SysRng).fill_bytes(&mut nonce);
        tokio::spawn(async move {
            let challenge = Challenge::new(nonce, &services.key);
            // Room for one message in a new one is certain.
            outbox.push(challenge.clone().into());
            let ended = match services.greet(challenge, caller.as_ref(), &mut inbound).await {
                Err(why) => Err(why),
                Ok((client, version)) => {
                    let subject = Subject::Silo(client);
                    let session = SessionId(services.sessions.fetch_add(1, Ordering::Relaxed));
                    let attached = services.tell(Event::Attached { client, session, version, outbox }).await;
                    let ended = match attached {
                        Ok(()) => tokio::select! {
                            ended = services.listen(client, session, version, &mut inbound) => ended,
                            _ = over => Err(services.over()),
                            // In plain text the guard does not know which silo this is.
                            why = services.denied.wait_for(&subject) => {
                                Err(Status::permission_denied(format!("silo {client} is barred: {why}")))
                            }
                        },
                        Err(why) => Err(why),
                    };
                    // Where the driver is gone, so are its sessions.
                    let _ = services.tell(Event::Detached { client, session }).await;
                    ended
                }
            };
            if let Err(why) = ended {
                let _ = failed.send(why);
            }
        });
        // What ended the session from this side is the stream's last item.
        let last = tokio_stream::once(failure).then(|failure| failure).filter_map(Result::ok).map(Err);
        let messages = unread.map(Ok).chain(last);
        Ok(Response::new(Box::pin(messages)))
    }

    async fn begin_upload(
        &self,
        request: Request<v1::UploadHeader>,
    ) -> Result<Response<v1::UploadGrant>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let header = upload_header(OfRun::try_from(request.into_inner()))?;
        check_caller(caller.as_ref(), header.message.client)?;
        let Staging { run, writer } = self.begin(header.clone()).await?;
        let grant = match writer {
            Some(writer) => v1::UploadGrant { received_bytes: writer.received_bytes(), done: false },
            None => {
                self.acknowledge(run, &header.message).await?;
                let received_bytes = header.message.lanes * limits::LANE_BYTES;
                v1::UploadGrant { received_bytes, done: true }
            }
        };
        Ok(Response::new(grant))
    }

    async fn upload(
        &self,
        request: Request<Streaming<v1::UploadChunk>>,
    ) -> Result<Response<v1::UploadReceipt>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let mut chunks = request.into_inner();
        let first = self
            .next_chunk(&mut chunks)
            .await?
            .ok_or_else(|| Status::invalid_argument("an upload begins with its header"))?;
        let header = upload_header(OfRun::try_from(first))?;
        check_caller(caller.as_ref(), header.message.client)?;
        let Staging { run, writer } = self.begin(header.clone()).await?;
        let OfRun { message: header, .. } = header;
        if let Some(writer) = writer {
            self.receive(&header, writer, &mut chunks).await?;
        }
        self.acknowledge(run, &header).await?;
        Ok(Response::new(v1::UploadReceipt {
            durable: true,
            received_bytes: header.lanes * limits::LANE_BYTES,
        }))
    }
}

impl Services {
    /// Of the newest version of the run that a message names.
    fn newest_round(&self, envelope: &v1::ClientEnvelope) -> u64 {
        let board = self.board.borrow();
        let named = wire::run_named(&envelope.run).ok().flatten();
        let run = board.as_ref().and_then(|board| board.run(named));
        run.map_or(0, |(_, run)| run.status.head_round)
    }

    /// The run that a request names, or the one that is meant where it names none.
    fn asked(&self, run: &[u8]) -> Result<(Digest, OnBoard), Status> {
        let named = wire::run_named(run).map_err(|why| why.to_status())?;
        let board = self.board.borrow().clone().ok_or_else(stopping)?;
        match (board.run(named), named) {
            (Some((run, found)), _) => Ok((run, found.clone())),
            (None, Some(named)) => Err(ServiceError::NoSuchRun(named).to_status()),
            (None, None) => Err(stopping()),
        }
    }

    /// Counts a durable vector in.
    async fn acknowledge(&self, run: RunNumber, header: &UploadHeader) -> Result<(), Status> {
        self.ask(|reply| Event::Uploaded { run, header: Box::new(header.clone()), reply })
            .await?
            .map_err(|rejection| rejection.to_status())
    }
}

#[tonic::async_trait]
impl Models for Services {
    type FetchModelStream = BoxStream<v1::ModelChunk>;
    type ListCheckpointsStream = BoxStream<v1::CheckpointRecord>;
    type ListEvidenceStream = BoxStream<v1::EvidencePart>;

    async fn fetch_model(
        &self,
        request: Request<v1::FetchModelRequest>,
    ) -> Result<Response<Self::FetchModelStream>, Status> {
        let reading = self.library.reading(request.extensions().get::<Caller>()).await?;
        let request = request.into_inner();
        let (asked, wanted) = (self.asked(&request.run)?, wanted(&request)?);
        let newest = (asked.1.number, asked.1.status.head_round);
        let (run, round, file) = match wanted {
            Wanted::File { round, file } => (newest.0, round, file),
            Wanted::Newest => (newest.0, newest.1, checkpoint::MODEL_FILE),
            Wanted::Model(digest) => {
                let run = Some(asked.0).filter(|_| !request.run.is_empty());
                let found = self.ask(|reply| Event::FindModel { run, digest, reply }).await??;
                let (run, round) = found.ok_or_else(|| ServiceError::NoSuchModel(digest).to_status())?;
                (run.0, round, checkpoint::MODEL_FILE)
            }
        };
        let chunks = self.library.file(reading, (run, round, file)).await?;
        chunks
            .map(Response::new)
            .ok_or_else(|| Status::not_found(format!("the record of round {round} has no `{file}`")))
    }

    async fn list_checkpoints(
        &self,
        request: Request<v1::ListCheckpointsRequest>,
    ) -> Result<Response<Self::ListCheckpointsStream>, Status> {
        let reading = self.library.reading(request.extensions().get::<Caller>()).await?;
        let v1::ListCheckpointsRequest { from_round, run } = request.into_inner();
        let (_, run) = self.asked(&run)?;
        let newest = run.status.head_round;
        Ok(Response::new(self.library.chain(reading, run.number, from_round, newest)))
    }

    async fn list_evidence(
        &self,
        request: Request<v1::ListEvidenceRequest>,
    ) -> Result<Response<Self::ListEvidenceStream>, Status> {
        let reading = self.library.reading(request.extensions().get::<Caller>()).await?;
        let v1::ListEvidenceRequest { from_round, run } = request.into_inner();
        let (_, run) = self.asked(&run)?;
        let newest = run.status.head_round;
        Ok(Response::new(self.library.evidence(reading, run.number, from_round, newest)))
    }
}

#[tonic::async_trait]
impl Operator for Services {
    type WatchStream = BoxStream<v1::RunStatus>;

    async fn status(&self, request: Request<v1::StatusRequest>) -> Result<Response<v1::RunStatus>, Status> {
        let (_, run) = self.asked(&request.into_inner().run)?;
        let board = self.board.borrow().clone().ok_or_else(stopping)?;
        Ok(Response::new(board.shown(&run).into()))
    }

    /// One run, from the moment on at which it is asked for. Where none is named, the one that is meant then, and once that is over
    /// the one that is meant then.
    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let (run, _) = self.asked(&request.run)?;
        let mut watched = Watched::begin(run, request.run.is_empty());
        let mut boards = self.board.clone();
        // One beside the one that is being written.
        let (send, shown) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let board = boards.borrow_and_update().clone();
                for news in board.map(|board| watched.news(&board)).into_iter().flatten() {
                    if send.send(Ok(news.into())).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    changed = boards.changed() => if changed.is_err() { return },
                    () = send.closed() => return,
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(shown))))
    }
}

fn upload_header(
    header: Result<OfRun<UploadHeader>, wire::ConversionError>,
) -> Result<OfRun<UploadHeader>, Status> {
    header.map_err(|why| why.to_status())
}

/// A certificate speaks for its own silo only.
fn check_caller(caller: Option<&Caller>, silo: ClientId) -> Result<(), Status> {
    match caller {
        Some(caller) if caller.may_be(silo) => Ok(()),
        Some(caller) => {
            Err(Status::permission_denied(format!("{} cannot speak for silo {silo}", caller.name)))
        }
        None => Err(Status::permission_denied("this call reached no guard")),
    }
}

/// What is asked for of the chain.
enum Wanted {
    /// The newest model.
    Newest,
    /// A model by its digest.
    Model(Digest),
    /// A file of the record of a round.
    File { round: u64, file: &'static str },
}

fn wanted(request: &v1::FetchModelRequest) -> Result<Wanted, Status> {
    use v1::ModelPart;
    let file = match ModelPart::try_from(request.part) {
        Ok(ModelPart::Unspecified | ModelPart::Parameters) => checkpoint::MODEL_FILE,
        Ok(ModelPart::Optimizer) => checkpoint::OPTIMIZER_FILE,
        Ok(ModelPart::Aggregate) => checkpoint::AGGREGATE_FILE,
        Ok(ModelPart::Signature) => attest::BUNDLE_FILE,
        Ok(ModelPart::Evidence) => attest::EVIDENCE_FILE,
        Ok(ModelPart::Card) => card::CARD_FILE,
        Ok(ModelPart::Readme) => card::README_FILE,
        Ok(ModelPart::Plan) => plan::PLAN_FILE,
        Err(_) => {
            return Err(Status::invalid_argument(format!("part: there is no part {}", request.part)));
        }
    };
    match (request.round, request.digest.as_slice()) {
        (Some(round), _) => Ok(Wanted::File { round, file }),
        (None, _) if file != checkpoint::MODEL_FILE => {
            Err(Status::invalid_argument("round: a part other than the parameters is asked for by its round"))
        }
        (None, []) => Ok(Wanted::Newest),
        (None, bytes) => bytes
            .try_into()
            .map(|bytes| Wanted::Model(Digest::from_bytes(bytes)))
            .map_err(|_| Status::invalid_argument("digest: 32 bytes, or none for the newest model")),
    }
}

/// Hashes what an earlier stream left, so that the digest is over the whole.
fn resume(verifier: &mut UploadVerifier, writer: &dyn StageWriter) -> Result<(), Status> {
    let mut held = writer.received().map_err(not_staged)?;
    let mut block = vec![0u8; limits::CHUNK_BYTES];
    loop {
        let read = held.read(&mut block).map_err(|why| {
            tracing::error!(%why, "what was staged cannot be read");
            ServiceError::Busy { retry_after: RETRY_AFTER }.to_status()
        })?;
        let Some(bytes) = block.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        verifier.resume(bytes).map_err(|why| why.to_status())?;
    }
}

/// A disk that is full, or descriptors that have run out, may pass: the silo, whose budget is spent, goes on with its vector.
fn not_staged(why: store::StoreError) -> Status {
    tracing::error!("staging failed: {:#}", anyhow::Error::from(why));
    ServiceError::Busy { retry_after: RETRY_AFTER }.to_status()
}

/// What whoever asks hears while the driver is not there.
pub(crate) const RESTARTING: ServiceError = ServiceError::Restarting { retry_after: RETRY_AFTER };

fn stopping() -> Status {
    RESTARTING.to_status()
}
