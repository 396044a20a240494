use std::fs;
use std::path::{Path, PathBuf};

use attest::{Envelope, ModelKey, ModelPublicKey};
use checkpoint::{MANIFEST_FILE, SIGNATURE_FILE, folder_name};
use identity::{Authority, IdentityKey, Roster};
use rand::rand_core::UnwrapErr;
use tlog::{Edge, leaf_hash, node_hash};

use super::*;
use crate::listing::read_listed;
use crate::samples;

type Files = BTreeMap<String, Vec<u8>>;

fn key() -> ModelKey {
    ModelKey::generate(&mut UnwrapErr(rand::rngs::SysRng)).unwrap()
}

/// A report on a federation with the sample's three records, at this place.
fn seal_at(out: &Path, key: &ModelKey, more: &[(&str, &[u8])]) -> Index {
    let own = IdentityKey::generate(&mut UnwrapErr(rand::rngs::SysRng));
    let public = hex::encode(own.public().as_bytes());
    let authority = Authority { federation: "hospitals".into(), key: public, ca_certificate: String::new() };
    let roster = Roster {
        format: None,
        previous: None,
        federation: "hospitals".into(),
        epoch: 1,
        coordinator_key: hex::encode(samples::key().verifying_key().as_bytes()),
        members: [].into(),
    };
    let mut report = NewReport::beside(out).unwrap();
    report.add(AUTHORITY, authority.to_canonical().as_bytes()).unwrap();
    report.add(ROSTER, &serde_json::to_vec(&roster.sign(&own)).unwrap()).unwrap();
    let mut entries = report.entries().unwrap();
    for entry in ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"] {
        entries.push(entry.as_bytes()).unwrap();
    }
    entries.finish().unwrap();
    let chain = samples::chain(|_| {});
    for round in [0, 1, 3] {
        for file in [MANIFEST_FILE, SIGNATURE_FILE] {
            let folder = folder_name(round);
            let bytes = fs::read(chain.path().join(CHECKPOINTS).join(&folder).join(file)).unwrap();
            report.add(&format!("{CHECKPOINTS}{folder}/{file}"), &bytes).unwrap();
        }
    }
    more.iter().for_each(|(name, bytes)| report.add(name, bytes).unwrap());
    report.seal("INC-0001", &authority, 7, key).unwrap()
}

fn sealed(key: &ModelKey) -> Files {
    let here = tempfile::tempdir().unwrap();
    seal_at(&here.path().join("report"), key, &[]);
    read_listed(&here.path().join("report"), &[]).unwrap().into_iter().collect()
}

fn checked(files: &Files, pinned: Option<&ModelPublicKey>) -> Result<Index, ReportFault> {
    let here = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let file = here.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
    check(here.path(), pinned)
}

fn refused(files: &Files, pinned: Option<&ModelPublicKey>) -> String {
    match checked(files, pinned) {
        Err(why @ ReportFault::Bad { .. }) => why.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_report_holds_under_its_makers_key_and_under_no_other() {
    let own = key();
    let files = sealed(&own);
    let index = checked(&files, Some(own.public())).unwrap();
    assert_eq!((index.incident.as_str(), index.audit_size, index.file_count()), ("INC-0001", 3, files.len()));
    assert!(checked(&files, None).is_ok());
    assert!(refused(&files, Some(key().public())).contains(ENVELOPE));
}

#[test]
fn every_file_that_is_changed_missing_or_added_is_named() {
    let files = sealed(&key());
    for name in files.keys() {
        let mut changed = files.clone();
        changed.get_mut(name).unwrap().push(b' ');
        // JSON and PEM do not mind a space at their end, but the index does.
        if name != ENVELOPE {
            assert!(refused(&changed, None).starts_with(name.as_str()), "{name}");
        }
        changed.remove(name);
        assert_eq!(refused(&changed, None), format!("{name}: is missing"));
    }
    let mut added = files.clone();
    added.insert("notes.txt".into(), vec![]);
    assert_eq!(refused(&added, None), "notes.txt: is not in the index");
}

#[test]
fn a_record_that_its_maker_left_out_of_the_chain_or_did_not_sign_is_found() {
    let here = tempfile::tempdir().unwrap();
    let chain = samples::chain(|_| {});
    let record = fs::read(chain.path().join("checkpoints/000001/manifest.json")).unwrap();
    let why = |name: &str, file: &str, bytes: &[u8]| {
        let out = here.path().join(name);
        seal_at(&out, &key(), &[(file, bytes)]);
        check(&out, None).unwrap_err().to_string()
    };
    let unsigned = why("a", "checkpoints/000004/manifest.json", &record);
    assert_eq!(unsigned, "checkpoints/000004/manifest.sig: is missing");
    let alone = why("b", "checkpoints/000004/manifest.sig", &[0; 64]);
    assert_eq!(alone, "checkpoints/000004/manifest.json: is missing");
}

#[test]
fn the_same_files_give_the_same_archive_which_holds_as_the_folder_does() {
    let here = tempfile::tempdir().unwrap();
    let (own, file) = (key(), here.path().join("report.tar"));
    let made = seal_at(&file, &own, &[]);
    assert_eq!(check(&file, Some(own.public())).unwrap(), made);
    let unpacked = here.path().join("unpacked");
    let archive = || tar::Archive::new(fs::File::open(&file).unwrap());
    archive().unpack(&unpacked).unwrap();
    assert_eq!(check(&unpacked, None).unwrap(), made);
    for entry in archive().entries().unwrap() {
        let entry = entry.unwrap();
        assert_eq!((entry.header().mtime().unwrap(), entry.header().mode().unwrap()), (0, 0o644));
    }
    let names: Vec<PathBuf> = fs::read_dir(here.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_report_that_is_given_up_leaves_nothing_and_one_without_the_log_or_with_two_of_a_name_is_not_made() {
    let here = tempfile::tempdir().unwrap();
    let authority = Authority { federation: "f".into(), key: String::new(), ca_certificate: String::new() };
    for out in ["report.tar", "report"] {
        let out = here.path().join(out);
        let mut report = NewReport::beside(&out).unwrap();
        report.entries().unwrap().push(b"{}").unwrap();
        report.add("a", b"1").unwrap();
        assert!(matches!(report.add("a", b"2"), Err(MakingError::Twice { .. })));
        let why = report.seal("INC-0001", &authority, 7, &key()).unwrap_err();
        assert!(matches!(why, MakingError::NoEntries), "{why}");
        assert_eq!(fs::read_dir(here.path()).unwrap().count(), 0);
        fs::write(&out, "").unwrap();
        assert!(NewReport::beside(&out).is_err());
        fs::remove_file(&out).unwrap();
    }
}

#[test]
fn the_root_of_the_entries_is_the_one_of_rfc_9162() {
    let mut log = Edge::new();
    [b"{\"a\":1}", b"{\"a\":2}", b"{\"a\":3}"].into_iter().for_each(|entry| drop(log.push(leaf_hash(entry))));
    let here = tempfile::tempdir().unwrap();
    let index = seal_at(&here.path().join("report"), &key(), &[]);
    assert_eq!(index.audit_root, hex::encode(log.root()));
    let pair = node_hash(&leaf_hash(b"{\"a\":1}"), &leaf_hash(b"{\"a\":2}"));
    assert_eq!(log.root(), node_hash(&pair, &leaf_hash(b"{\"a\":3}")));
}

#[test]
fn an_archive_with_anything_but_plain_files_is_refused_before_any_of_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.tar");
    // A kilobyte that stands for a terabyte of zeros.
    for kind in [
        tar::EntryType::GNUSparse,
        tar::EntryType::Link,
        tar::EntryType::Symlink,
        tar::EntryType::Directory,
        tar::EntryType::GNULongName,
        tar::EntryType::XHeader,
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_path("status.json").unwrap();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(0);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.realsize = *b"\x80\0\0\0\0\0\x01\0\0\0\0\0";
        header.set_cksum();
        let mut archive = tar::Builder::new(Vec::new());
        archive.append(&header, &[][..]).unwrap();
        fs::write(&file, archive.into_inner().unwrap()).unwrap();
        let why = check(&file, None).unwrap_err().to_string();
        assert!(why.contains("is no plain file"), "{kind:?}: {why}");
    }
}

#[test]
fn a_report_of_a_later_format_is_refused_by_its_number_before_anything_else_of_it_is_read() {
    let own = key();
    let mut files = sealed(&own);
    let index = String::from_utf8(files[INDEX].clone()).unwrap();
    let later = index.replacen(FORMAT, "folkmoot incident 2", 1).replacen('{', "{\"unheard\":[1],", 1);
    let envelope = Envelope::sign(PAYLOAD_TYPE, later.clone().into_bytes(), &own).to_json().unwrap();
    files.insert(ENVELOPE.into(), envelope);
    files.insert(INDEX.into(), later.into_bytes());
    let why = refused(&files, None);
    let expected = "has format \"folkmoot incident 2\", this release reads \"folkmoot incident 1\": install a newer release";
    assert!(why.contains(expected), "{why}");
}
