//! What those who fetch read of what the driver published.

use std::time::Duration;

use tokio_stream::StreamExt;
use vault::MasterSource;
use wire::v1::evidence_part::Part as EvidencePart;
use wire::v1::model_chunk::Part;

use super::*;
use crate::library::Library;

const PATIENCE: Duration = Duration::from_secs(60);

/// A run's folder, sealed or not, and the library over it.
fn library(folder: &Path, vault: Option<Arc<Vault>>) -> (Library, store::Published) {
    let folders = || RunFolders::new(folder, vault.clone());
    drop(open_with(folders(), plain, setup(), mpsc::channel(16).0).unwrap());
    let published = store::Published::new(folder.join(store::CHECKPOINTS), vault.clone());
    (Library::new(folders(), PATIENCE, Arc::default()), published)
}

async fn fetched(library: &Library, file: &'static str) -> Result<Option<Vec<u8>>, tonic::Status> {
    let reading = library.reading(None).await?;
    let Some(mut chunks) = library.file(reading, (runs::FIRST, 0, file)).await? else { return Ok(None) };
    let Some(Part::Header(header)) = chunks.next().await.unwrap()?.part else { panic!("no header") };
    let mut verifier = wire::ChunkVerifier::new(header.try_into().unwrap());
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        bytes.extend(verifier.accept(chunk?).unwrap());
    }
    verifier.finish().unwrap();
    Ok(Some(bytes))
}

/// What the stream of all evidence gives: each record's round, and what is between it and the next.
async fn evidence(library: &Library) -> Vec<(u64, Vec<u8>)> {
    let mut parts = library.evidence(library.reading(None).await.unwrap(), runs::FIRST, 0, 9);
    let mut records = Vec::new();
    while let Some(part) = parts.next().await {
        match part.unwrap().part.unwrap() {
            EvidencePart::Record(record) => records.push((record.round, Vec::new())),
            EvidencePart::File(file) => records.last_mut().unwrap().1.extend_from_slice(&file.data),
        }
    }
    records
}

/// The same, of the folder.
fn beside(published: &store::Published) -> Vec<(u64, Vec<u8>)> {
    let files = [card::CARD_FILE, card::README_FILE];
    let of = |name: String| files.map(|file| published.read(&name, file).unwrap()).concat();
    published.names().unwrap().into_iter().map(|name| (name.parse().unwrap(), of(name))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_file_is_sent_as_it_is_sealed_or_not_and_a_damaged_model_is_not() {
    for sealed in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let vault = sealed.then(|| {
            let master = folder.path().join("master.key");
            vault::make_master(&master).unwrap();
            Arc::new(Vault::create(folder.path(), MasterSource::File(master)).unwrap())
        });
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let (library, published) = library(&data, vault.clone());
        let name = checkpoint::folder_name(0);
        for file in [checkpoint::MODEL_FILE, checkpoint::OPTIMIZER_FILE, card::CARD_FILE, plan::PLAN_FILE] {
            for _ in 0..2 {
                let bytes = fetched(&library, file).await.unwrap().unwrap();
                assert_eq!(bytes, published.read(&name, file).unwrap(), "{file}, sealed: {sealed}");
            }
        }
        assert!(fetched(&library, checkpoint::AGGREGATE_FILE).await.unwrap().is_none());
        let records: Vec<_> =
            library.chain(library.reading(None).await.unwrap(), runs::FIRST, 0, 0).collect().await;
        assert_eq!(records.len(), 1);
        assert_eq!(evidence(&library).await, beside(&published));

        let again = Library::new(RunFolders::new(&data, vault), PATIENCE, Arc::default());
        std::fs::write(data.join(store::CHECKPOINTS).join(&name).join(checkpoint::MODEL_FILE), b"other")
            .unwrap();
        let why = fetched(&again, checkpoint::MODEL_FILE).await.unwrap_err();
        assert_eq!(why.code(), tonic::Code::Internal, "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_has_sixteen_responses_at_once_and_gets_another_when_one_is_let_go_of() {
    let folder = tempfile::tempdir().unwrap();
    let (library, _) = library(folder.path(), None);
    let mut readings = Vec::new();
    let refused = loop {
        match library.reading(None).await {
            Ok(reading) => readings.push(reading),
            Err(why) => break why,
        }
    };
    assert_eq!(readings.len(), 16);
    assert_eq!(wire::reason(&refused).as_deref(), Some("BUSY"));
    readings.pop();
    assert!(library.reading(None).await.is_ok());
}

#[tokio::test]
async fn four_silos_that_hold_every_common_place_leave_each_other_silo_its_own() {
    let folder = tempfile::tempdir().unwrap();
    drop(library(folder.path(), None));
    // Nobody waits.
    let library = Library::new(RunFolders::new(folder.path(), None), Duration::ZERO, Arc::default());
    let silo = |number: u32| access::Caller {
        name: format!("silo/{number}"),
        subject: Some(identity::Subject::Silo(ClientId(number))),
        role: Some(identity::Role::Client),
        proof: access::Proof::Certificate { fingerprint: params::Digest::from_bytes([number as u8; 32]) },
        address: None,
        expires_s: None,
    };
    let mut held = Vec::new();
    for number in 1..=5 {
        while let Ok(reading) = library.reading(Some(&silo(number))).await {
            held.push(reading);
        }
    }
    assert_eq!(held.len(), 64 + 5);
    assert!(library.reading(None).await.is_err(), "whoever proved nothing has none of its own");
    let own = library.reading(Some(&silo(6))).await.unwrap();
    assert!(library.reading(Some(&silo(6))).await.is_err(), "and one only");
    drop(own);
    assert!(library.reading(Some(&silo(6))).await.is_ok());
}
