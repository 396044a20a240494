use identity::LastSigned;

use super::*;

fn key(byte: u8) -> IdentityKey {
    IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap()
}

fn public(byte: u8) -> String {
    hex::encode(key(byte).public().as_bytes())
}

/// The authority's key is 100; silo 1 is a member.
fn current() -> Roster {
    let north = Member { name: "north".into(), identity_key: public(1), admitted: 1 };
    Roster {
        format: None,
        previous: None,
        federation: "hospitals".into(),
        epoch: 4,
        coordinator_key: public(99),
        members: [(ClientId(1), north)].into(),
    }
}

fn base() -> Base {
    Base::on(LastSigned::new(current().sign(&key(100)).authorise(&key(100).public()).unwrap())).unwrap()
}

fn entry(name: &str, byte: u8) -> ClientEntry {
    ClientEntry {
        name: name.into(),
        identity_key: public(byte),
        // What a coordinator that lies would say.
        fingerprint: "0000-0000".into(),
        state: AWAITING.into(),
        ..ClientEntry::default()
    }
}

fn found(entries: &[ClientEntry], names: &[&str]) -> Result<Vec<Newcomer>, Failure> {
    asking(entries, &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
}

fn args(fingerprints: &[&str], yes: bool) -> ApproveArgs {
    ApproveArgs {
        names: vec![],
        remote: Remote::default(),
        authority: PathBuf::new(),
        fingerprints: fingerprints.iter().map(|text| (*text).to_owned()).collect(),
        yes,
        number: None,
        trust: Trust::default(),
    }
}

#[test]
fn several_newcomers_make_one_epoch_under_numbers_that_no_member_has() {
    let entries = [entry("south", 2), entry("west", 3), entry("east", 4)];
    let next = admit(&base(), &found(&entries, &["west", "south", "west"]).unwrap(), None).unwrap();
    assert_eq!(next.epoch, 5);
    let members: Vec<_> =
        next.members.iter().map(|(id, member)| (id.0, member.name.as_str(), member.admitted)).collect();
    assert_eq!(members, [(1, "north", 1), (2, "south", 5), (3, "west", 5)]);
    assert!(next.sign(&key(100)).open(&key(100).public()).is_ok());
}

#[test]
fn a_number_that_was_a_former_members_can_be_passed_over_but_no_member_is_replaced() {
    let south = found(&[entry("south", 2)], &["south"]).unwrap();
    assert!(admit(&base(), &south, Some(7)).unwrap().members.contains_key(&ClientId(7)));
    let why = admit(&base(), &south, Some(1)).unwrap_err();
    assert!(why.to_string().contains("silo 1 is a member"), "{why}");
    let again = found(&[entry("north", 2)], &["north"]).unwrap();
    assert!(admit(&base(), &again, None).unwrap_err().to_string().contains("already"));
}

#[test]
fn the_fingerprint_is_computed_here_and_not_what_the_coordinator_says() {
    let south = found(&[entry("south", 2)], &["south"]).unwrap().pop().unwrap();
    let own = spoken(&identity_fingerprint("south", &key(2).public()));
    assert_eq!(south.fingerprint, own);
    let none = &mut std::io::empty();
    confirm(&south, &args(&[&own.to_uppercase()], false), none).unwrap();
    let why = confirm(&south, &args(&["0000-0000"], false), none).unwrap_err();
    assert!(matches!(&why, Failure::Verification(text) if text.contains("refuse south")), "{why}");
}

#[test]
fn silence_and_anything_but_yes_admit_nobody() {
    let south = found(&[entry("south", 2)], &["south"]).unwrap().pop().unwrap();
    for (answer, admitted) in [("y\n", true), ("yes\n", true), ("n\n", false), ("\n", false), ("", false)] {
        let confirmed = confirm(&south, &args(&[], false), &mut answer.as_bytes());
        assert_eq!(confirmed.is_ok(), admitted, "{answer:?}");
    }
    confirm(&south, &args(&[], true), &mut std::io::empty()).unwrap();
}

#[test]
fn who_does_not_ask_is_not_found_and_two_of_one_name_are_not_told_apart() {
    let entries = [entry("south", 2), entry("south", 3)];
    assert!(found(&entries, &["east"]).unwrap_err().to_string().contains("clients list"));
    assert!(found(&entries, &["south"]).unwrap_err().to_string().contains("two ask"));
    let mut refused = entry("east", 4);
    refused.state = "refused".into();
    assert!(found(&[refused], &["east"]).is_err());
}

#[test]
fn a_roster_that_another_signed_is_not_believed() {
    let roster = serde_json::to_string(&current().sign(&key(101))).unwrap();
    let listed = Listed { clients: vec![], roster };
    let why = Failure::from(roster_in_force(&listed, &key(100).public()).unwrap_err());
    assert!(matches!(&why, Failure::Verification(text) if text.contains("not believed")), "{why}");
    assert_eq!(roster_in_force(&listed, &key(101).public()).unwrap(), current());
}

#[test]
fn a_member_is_found_by_its_name_before_its_number_and_a_newcomer_never_is() {
    let member_of = |id, name: &str| ClientEntry { id, name: name.into(), ..ClientEntry::default() };
    let clients = [member_of(1, "north"), member_of(2, "1"), entry("south", 2)];
    assert_eq!(member(&clients, "north").unwrap(), ClientId(1));
    assert_eq!(member(&clients, "1").unwrap(), ClientId(2));
    assert_eq!(member(&clients, "2").unwrap(), ClientId(2));
    for whom in ["south", "0", "9"] {
        assert!(member(&clients, whom).unwrap_err().to_string().contains(whom));
    }
}

/// The authority's folder, with its key in it.
fn authority_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let master = folder.path().join("master.key");
    vault::make_master(&master).unwrap();
    let vault = Vault::create(folder.path(), MasterSource::File(master)).unwrap();
    let secret = key(100).secret_hex();
    vault::write_secret(&folder.path().join("authority.key"), &vault, "authority.key", secret.as_bytes())
        .unwrap();
    folder
}

#[test]
fn two_commands_with_one_folder_sign_no_two_rosters_of_one_epoch() {
    let folder = authority_folder();
    let first = LastSigned::new(current().sign(&key(100)).authorise(&key(100).public()).unwrap());
    Authority::open(folder.path()).unwrap().remember(first.clone()).unwrap();
    // One waits for an answer to its question while the other signs.
    let [mut slow, mut quick] = [(); 2].map(|()| Authority::open(folder.path()).unwrap());
    let [without, with] = [false, true].map(|keeps| {
        let mut next = first.next().unwrap();
        next.members.retain(|_, _| keeps);
        first.followed_by(&first.roster, next.sign(&key(100)).authorise(&key(100).public()).unwrap())
    });
    quick.remember(without.clone()).unwrap();
    assert!(slow.remember(with).unwrap_err().to_string().contains("meanwhile"));
    slow.note_taken().unwrap();
    quick.note_taken().unwrap();
    let taken = LastSigned { taken: true, ..without };
    assert_eq!(Authority::open(folder.path()).unwrap().last, Some(taken));
}

#[test]
fn a_disk_that_is_full_once_a_roster_is_in_force_is_not_said_to_have_kept_it_back() {
    let folder = authority_folder();
    let roster = current().sign(&key(100)).authorise(&key(100).public()).unwrap();
    let mut authority = Authority::open(folder.path()).unwrap();
    let full = folder.path().join("last-roster.tmp");
    std::fs::create_dir(&full).unwrap();
    let last = LastSigned { taken: false, ..LastSigned::new(roster) };
    assert!(authority.remember(last.clone()).unwrap_err().to_string().contains("nothing was submitted"));
    std::fs::remove_dir(&full).unwrap();
    authority.remember(last).unwrap();
    std::fs::create_dir(&full).unwrap();
    let why = authority.note_taken().unwrap_err().to_string();
    assert!(why.contains("is in force") && !why.contains("nothing was submitted"), "{why}");
}

#[test]
fn the_authoritys_folder_gives_its_key_and_a_foreign_document_beside_it_is_named() {
    let folder = authority_folder();
    assert_eq!(open_authority(folder.path()).unwrap().public(), key(100).public());
    let authority = identity::Authority {
        federation: "hospitals".into(),
        key: public(101),
        ca_certificate: String::new(),
    };
    std::fs::write(folder.path().join(AUTHORITY_FILE), authority.to_canonical()).unwrap();
    assert!(open_authority(folder.path()).unwrap_err().to_string().contains("restore both"));
}
