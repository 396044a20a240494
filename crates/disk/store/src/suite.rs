//! One suite for every store: what the trait promises, before and after a restart.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use params::Digest;
use vault::{MasterSource, Vault};

use crate::*;

const KIND: JournalKind = JournalKind::Coordinator;

/// How the suite starts a store and starts it again.
trait Start {
    type Store: Tear;

    fn first() -> (Self, Self::Store)
    where
        Self: Sized;

    fn again(&self, store: Self::Store) -> Self::Store;
}

struct Files(tempfile::TempDir);

fn open(folder: &Path) -> FileStore {
    FileStore::open(folder, KIND, |_, _, _| Ok(())).unwrap().store
}

impl Start for Files {
    type Store = FileStore;

    fn first() -> (Files, FileStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        (Files(folder), store)
    }

    fn again(&self, store: FileStore) -> FileStore {
        drop(store);
        open(self.0.path())
    }
}

struct SealedFiles(tempfile::TempDir, Arc<Vault>);

fn open_sealed(folder: &Path, vault: &Arc<Vault>) -> FileStore {
    FileStore::open_sealed(folder, KIND, vault.clone(), |_, _, _| Ok(())).unwrap().store
}

impl Start for SealedFiles {
    type Store = FileStore;

    fn first() -> (SealedFiles, FileStore) {
        let folder = tempfile::tempdir().unwrap();
        let master = folder.path().join("master.key");
        vault::make_master(&master).unwrap();
        let vault = Arc::new(Vault::create(folder.path(), MasterSource::File(master)).unwrap());
        let store = open_sealed(folder.path(), &vault);
        (SealedFiles(folder, vault), store)
    }

    fn again(&self, store: FileStore) -> FileStore {
        drop(store);
        // Under a new key each time: what older ones sealed is read all the same.
        self.1.rotate_data_key().unwrap();
        open_sealed(self.0.path(), &self.1)
    }
}

struct Memory;

impl Start for Memory {
    type Store = MemoryStore;

    fn first() -> (Memory, MemoryStore) {
        (Memory, MemoryStore::new(KIND))
    }

    fn again(&self, store: MemoryStore) -> MemoryStore {
        store.restart()
    }
}

/// A faulty store whose fault never comes must behave as the store it wraps.
struct Faultless<T>(T);

impl<T: Start> Start for Faultless<T> {
    type Store = FaultyStore<T::Store>;

    fn first() -> (Self, Self::Store) {
        let (start, store) = T::first();
        (Faultless(start), FaultyStore::new(store, u64::MAX, InjectedFault::Lost))
    }

    fn again(&self, store: Self::Store) -> Self::Store {
        FaultyStore::new(self.0.again(store.into_inner()), u64::MAX, InjectedFault::Lost)
    }
}

macro_rules! suite {
    ($($name:ident: $start:ty),*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn records_are_replayed_in_order_after_a_restart() {
                super::records_are_replayed_in_order_after_a_restart::<$start>();
            }
            #[test]
            fn an_upload_resumes_after_a_restart_and_is_whole_after_commit() {
                super::an_upload_resumes_after_a_restart_and_is_whole_after_commit::<$start>();
            }
            #[test]
            fn a_vector_has_one_writer_and_is_committed_once() {
                super::a_vector_has_one_writer_and_is_committed_once::<$start>();
            }
            #[test]
            fn keys_that_differ_in_one_part_name_different_vectors() {
                super::keys_that_differ_in_one_part_name_different_vectors::<$start>();
            }
            #[test]
            fn only_older_rounds_are_discarded() {
                super::only_older_rounds_are_discarded::<$start>();
            }
            #[test]
            fn publishing_twice_is_one_publication_and_other_content_is_refused() {
                super::publishing_twice_is_one_publication_and_other_content_is_refused::<$start>();
            }
            #[test]
            fn names_that_lead_elsewhere_are_refused() {
                super::names_that_lead_elsewhere_are_refused::<$start>();
            }
            #[test]
            fn the_index_keeps_trees_apart() {
                super::the_index_keeps_trees_apart::<$start>();
            }
            #[test]
            fn every_crash_leaves_a_prefix_of_the_appends_that_holds_all_acknowledged() {
                super::every_crash_leaves_a_prefix_of_the_appends_that_holds_all_acknowledged::<$start>();
            }
            #[test]
            fn every_crash_of_an_upload_leaves_it_resumable_or_whole() {
                super::every_crash_of_an_upload_leaves_it_resumable_or_whole::<$start>();
            }
        }
    )*};
}

suite!(
    files: Files,
    sealed_files: SealedFiles,
    memory: Memory,
    faultless_files: Faultless<Files>,
    faultless_sealed_files: Faultless<SealedFiles>,
    faultless_memory: Faultless<Memory>
);

#[test]
fn a_head_names_the_same_history_in_every_store_that_is_not_sealed() {
    a_head_names_the_same_history::<Files>();
    a_head_names_the_same_history::<Memory>();
    a_head_names_the_same_history::<Faultless<Files>>();
    a_head_names_the_same_history::<Faultless<Memory>>();
}

/// A head is in the clear: over the records themselves it would confirm a guess of them.
#[test]
fn a_sealed_stores_head_tells_nothing_of_its_records() {
    let (_one, mut one) = SealedFiles::first();
    let (_two, mut two) = SealedFiles::first();
    for record in [b"two", b"six"] {
        one.append(record).unwrap();
        two.append(record).unwrap();
    }
    assert_eq!(one.head().sequence, two.head().sequence);
    assert_ne!(one.head().hash, two.head().hash);
}

fn key(round: u64) -> StageKey {
    upload(round, b"r2", 7)
}

fn upload(round: u64, clients: &[u8], client: u32) -> StageKey {
    StageKey { round, attempt: 0, what: Staged::Upload { clients: Digest::sha256(clients), client } }
}

fn stage_whole(store: &mut impl Store, key: &StageKey, vector: &[u8]) {
    let mut writer = store.stage(key).unwrap();
    writer.append(vector).unwrap();
    writer.commit().unwrap();
}

fn contents(mut reader: Box<dyn Read + Send>) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

fn records_are_replayed_in_order_after_a_restart<T: Start>() {
    let (start, mut store) = T::first();
    assert_eq!(store.replay().unwrap(), Vec::<Vec<u8>>::new());
    assert_eq!(store.append_all(&[]).unwrap(), 0);
    assert_eq!(store.append(b"two").unwrap(), 1);
    assert_eq!(store.append_all(&[b"three".to_vec(), vec![], b"five".to_vec()]).unwrap(), 4);
    let head = store.head();
    let mut store = start.again(store);
    assert_eq!(store.replay().unwrap(), [&b"two"[..], b"three", b"", b"five"]);
    assert_eq!(store.head(), head);
    assert_eq!(store.append(b"seven").unwrap(), 5);
    assert_eq!(store.replay().unwrap().len(), 5);
    assert!(matches!(store.append(&vec![0; APPEND_BYTES_MAX]), Err(StoreError::Journal(_))));
}

fn a_head_names_the_same_history<T: Start>() {
    let (_start, mut store) = T::first();
    let mut other = MemoryStore::new(KIND);
    assert_eq!(store.head(), other.head());
    assert_ne!(store.head(), MemoryStore::new(JournalKind::Client).head());
    for record in [b"two", b"six"] {
        store.append(record).unwrap();
        other.append(record).unwrap();
        assert_eq!(store.head(), other.head());
    }
    store.append(b"a").unwrap();
    other.append(b"b").unwrap();
    assert_ne!(store.head(), other.head());
}

fn an_upload_resumes_after_a_restart_and_is_whole_after_commit<T: Start>() {
    let (start, mut store) = T::first();
    let mut writer = store.stage(&key(1)).unwrap();
    writer.append(b"wrong").unwrap();
    writer.restart().unwrap();
    assert_eq!(writer.received_bytes(), 0);
    writer.append(b"two").unwrap();
    writer.append(b"three").unwrap();
    drop(writer);
    let mut store = start.again(store);
    assert_eq!(store.staged_bytes(&key(1)).unwrap(), None);
    assert!(matches!(store.open_staged(&key(1)), Err(StoreError::NotStaged(_))));
    let mut writer = store.stage(&key(1)).unwrap();
    assert_eq!(writer.received_bytes(), 8);
    assert_eq!(contents(writer.received().unwrap()), b"twothree");
    writer.append(b"five").unwrap();
    writer.commit().unwrap();
    let store = start.again(store);
    assert_eq!(store.staged_bytes(&key(1)).unwrap(), Some(12));
    assert_eq!(contents(store.open_staged(&key(1)).unwrap()), b"twothreefive");
}

fn a_vector_has_one_writer_and_is_committed_once<T: Start>() {
    let (_start, mut store) = T::first();
    let first = store.stage(&key(1)).unwrap();
    assert!(matches!(store.stage(&key(1)), Err(StoreError::StageBusy(busy)) if busy == key(1)));
    drop(first);
    let second = store.stage(&key(1)).unwrap();
    second.commit().unwrap();
    assert!(matches!(store.stage(&key(1)), Err(StoreError::AlreadyStaged(_))));
}

fn keys_that_differ_in_one_part_name_different_vectors<T: Start>() {
    let (_start, mut store) = T::first();
    let keys = [
        key(1),
        key(11),
        StageKey { attempt: 1, ..key(1) },
        upload(1, b"other", 7),
        upload(1, b"r2", 8),
        StageKey { what: Staged::File { digest: Digest::sha256(b"r2") }, ..key(1) },
        StageKey { what: Staged::File { digest: Digest::sha256(b"other") }, ..key(1) },
    ];
    for (i, key) in keys.iter().enumerate() {
        stage_whole(&mut store, key, &[i as u8]);
    }
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(contents(store.open_staged(key).unwrap()), [i as u8]);
    }
}

fn only_older_rounds_are_discarded<T: Start>() {
    let (_start, mut store) = T::first();
    let rounds = [1, 2, 9, 10, 1_000_000];
    for round in rounds {
        stage_whole(&mut store, &key(round), b"x");
    }
    let partial = upload(2, b"r2", 8);
    store.stage(&partial).unwrap().append(b"half").unwrap();
    store.discard_staged_before(10).unwrap();
    let kept: Vec<u64> =
        rounds.into_iter().filter(|&r| store.staged_bytes(&key(r)).unwrap().is_some()).collect();
    assert_eq!(kept, [10, 1_000_000]);
    assert_eq!(store.stage(&partial).unwrap().received_bytes(), 0);
}

fn publishing_twice_is_one_publication_and_other_content_is_refused<T: Start>() {
    let (start, mut store) = T::first();
    let files: [(&str, &[u8]); 2] = [("model", b"two"), ("manifest", b"three")];
    store.publish("000002", &files).unwrap();
    store.publish("000001", &files[..1]).unwrap();
    let mut store = start.again(store);
    store.publish("000002", &files).unwrap();
    assert_eq!(store.list_published().unwrap(), ["000001", "000002"]);
    assert_eq!(store.read_published("000002", "manifest").unwrap(), b"three");
    let refused = |store: &mut T::Store, files: &[(&str, &[u8])]| match store.publish("000002", files) {
        Err(StoreError::PublishedDiffers { file, .. }) => file,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&mut store, &[files[0], ("manifest", b"other")]), "manifest");
    assert_eq!(refused(&mut store, &[("model", b"other"), files[1]]), "model");
    assert_eq!(refused(&mut store, &files[..1]), "manifest");
    assert_eq!(refused(&mut store, &[files[0], files[1], ("more", b"")]), "more");
    assert_eq!(store.read_published("000002", "manifest").unwrap(), b"three");
    assert_eq!(store.published_files("000002").unwrap(), ["manifest", "model"]);
    assert!(store.published_files("000003").is_err());
    assert!(matches!(store.read_published("000003", "model"), Err(StoreError::NotPublished { .. })));
    assert!(matches!(store.read_published("000001", "manifest"), Err(StoreError::NotPublished { .. })));
}

fn names_that_lead_elsewhere_are_refused<T: Start>() {
    let (_start, mut store) = T::first();
    for name in ["", ".", "..", ".hidden", "a/b", "/etc", "a\\b", "a\0", "é"] {
        assert!(matches!(store.publish(name, &[("model", b"x")]), Err(StoreError::Name(_))), "{name}");
        assert!(matches!(store.publish("000001", &[(name, b"x")]), Err(StoreError::Name(_))), "{name}");
        assert!(matches!(store.read_published(name, "model"), Err(StoreError::Name(_))), "{name}");
        assert!(matches!(store.published_files(name), Err(StoreError::Name(_))), "{name}");
        assert!(matches!(store.read_published("000001", name), Err(StoreError::Name(_))), "{name}");
    }
    assert_eq!(store.list_published().unwrap(), [""; 0]);
}

fn the_index_keeps_trees_apart<T: Start>() {
    let (start, mut store) = T::first();
    store.index_put("rounds", b"k", b"two").unwrap();
    store.index_put("clients", b"k", b"three").unwrap();
    store.index_put("rounds", b"k", b"five").unwrap();
    let store = start.again(store);
    assert_eq!(store.index_get("rounds", b"k").unwrap().as_deref(), Some(&b"five"[..]));
    assert_eq!(store.index_get("clients", b"k").unwrap().as_deref(), Some(&b"three"[..]));
    assert_eq!(store.index_get("rounds", b"other").unwrap(), None);
    assert_eq!(store.index_get("other", b"k").unwrap(), None);
}

const FAULTS: [InjectedFault; 5] = [
    InjectedFault::Lost,
    InjectedFault::Unacknowledged,
    InjectedFault::Torn { keep: 0 },
    InjectedFault::Torn { keep: 30 },
    InjectedFault::Torn { keep: 999 },
];

fn every_crash_leaves_a_prefix_of_the_appends_that_holds_all_acknowledged<T: Start>() {
    let appends: [Vec<Vec<u8>>; 3] =
        [vec![b"two".to_vec()], vec![b"three".to_vec(), b"five".to_vec()], vec![b"seven".to_vec()]];
    for fault in FAULTS {
        for crash_at in 1..=3 {
            let (start, store) = T::first();
            let mut faulty = FaultyStore::new(store, crash_at, fault);
            let acknowledged =
                appends.iter().take_while(|records| faulty.append_all(records).is_ok()).count();
            assert_eq!(acknowledged as u64, crash_at - 1);
            assert!(faulty.has_crashed());
            assert!(matches!(faulty.append(b"late"), Err(StoreError::Crashed)));
            assert!(matches!(faulty.replay(), Err(StoreError::Crashed)));
            let mut store = start.again(faulty.into_inner());
            let survived = acknowledged + usize::from(fault == InjectedFault::Unacknowledged);
            assert_eq!(store.replay().unwrap(), appends[..survived].concat(), "{fault:?} at {crash_at}");
            store.append(b"next").unwrap();
        }
    }
}

fn every_crash_of_an_upload_leaves_it_resumable_or_whole<T: Start>() {
    for fault in FAULTS {
        // Stage, two chunks, commit.
        for crash_at in 1..=4 {
            let (start, store) = T::first();
            let mut faulty = FaultyStore::new(store, crash_at, fault);
            let upload = |store: &mut dyn Store| {
                let mut writer = store.stage(&key(1))?;
                let missing = b"twothree".get(writer.received_bytes() as usize..).unwrap();
                let (first, second) = missing.split_at(missing.len().min(3));
                writer.append(first)?;
                writer.append(second)?;
                writer.commit()
            };
            assert!(matches!(upload(&mut faulty), Err(StoreError::Crashed)));
            let mut store = start.again(faulty.into_inner());
            match upload(&mut store) {
                Ok(()) => {}
                Err(StoreError::AlreadyStaged(_)) => {
                    assert_eq!((crash_at, fault), (4, InjectedFault::Unacknowledged))
                }
                Err(error) => panic!("{fault:?} at {crash_at}: {error}"),
            }
            assert_eq!(contents(store.open_staged(&key(1)).unwrap()), b"twothree");
        }
    }
}
