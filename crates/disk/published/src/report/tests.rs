use identity::{IdentityKey, Roster};
use rand::rand_core::UnwrapErr;

use super::*;

fn key() -> ModelKey {
    ModelKey::generate(&mut UnwrapErr(rand::rngs::SysRng)).unwrap()
}

/// A report on a federation without rounds.
fn sealed(key: &ModelKey) -> Files {
    let rng = &mut UnwrapErr(rand::rngs::SysRng);
    let (own, coordinator) = (IdentityKey::generate(rng), IdentityKey::generate(rng));
    let public = |key: &IdentityKey| hex::encode(key.public().as_bytes());
    let authority =
        Authority { federation: "hospitals".into(), key: public(&own), ca_certificate: String::new() };
    let roster = Roster {
        format: None,
        previous: None,
        federation: "hospitals".into(),
        epoch: 1,
        coordinator_key: public(&coordinator),
        members: [].into(),
    };
    let mut files = Files::new();
    files.insert(AUTHORITY.into(), authority.to_canonical().into_bytes());
    files.insert(ROSTER.into(), serde_json::to_vec(&roster.sign(&own)).unwrap());
    files.insert(ENTRIES.into(), b"{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n".to_vec());
    seal(&mut files, "INC-0001", &authority, 7, key).unwrap();
    files
}

fn refused(files: &Files, pinned: Option<&ModelPublicKey>) -> String {
    match check(files, pinned) {
        Err(why @ ReportFault::Bad { .. }) => why.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_report_holds_under_its_makers_key_and_under_no_other() {
    let own = key();
    let files = sealed(&own);
    let index = check(&files, Some(own.public())).unwrap();
    assert_eq!((index.incident.as_str(), index.audit_size), ("INC-0001", 3));
    assert!(check(&files, None).is_ok());
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
fn a_report_survives_its_archive_and_the_same_files_give_the_same_bytes() {
    let files = sealed(&key());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.tar");
    let packed = pack(&files).unwrap();
    assert_eq!(packed, pack(&files).unwrap());
    fs::write(&file, packed).unwrap();
    assert_eq!(unpack(&file).unwrap(), files);
    assert_eq!(read(&file).unwrap(), files);
}

#[test]
fn the_root_of_the_entries_is_the_one_of_rfc_9162() {
    let pair = tlog::node_hash(&leaf_hash(b"{}"), &leaf_hash(b"[]"));
    let root = tlog::node_hash(&pair, &leaf_hash(b"0"));
    assert_eq!(audit_root(b"{}\n[]\n0\n"), (3, root));
    assert_eq!(audit_root(b""), (0, *Digest::sha256(b"").as_bytes()));
}

#[test]
fn an_archive_with_anything_but_plain_files_is_refused_before_any_of_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.tar");
    fs::write(&file, pack(&sealed(&key())).unwrap()).unwrap();
    assert!(unpack(&file).is_ok());
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
        let why = unpack(&file).unwrap_err().to_string();
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
