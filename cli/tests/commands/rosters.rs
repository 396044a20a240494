//! Rosters that the authority signs, under a coordinator that forgets, refuses, lies or loses its answers.

use access::RequestState;

use super::*;

/// Approves one silo that asks, by its fingerprint.
fn approve(federation: &Federation, name: &str, more: &str) -> Result<(), Failure> {
    let fingerprint = federation.ask(name);
    let line = "--as @admin --authority @authority";
    federation.run(&format!("clients approve {name} {line} --fingerprint {fingerprint} {more}"))
}

#[test]
fn a_coordinator_that_shows_an_older_roster_gets_no_other_signed_on_it() {
    let federation = Federation::new();
    approve(&federation, "north", "").unwrap();
    approve(&federation, "south", "").unwrap();
    let with_both = federation.run.roster.lock().unwrap().clone();
    federation.run("clients revoke south --reason poisoned --as @admin --authority @authority").unwrap();
    let without = federation.run.roster.lock().unwrap().clone();
    *federation.run.frozen.lock().unwrap() = Some(with_both.clone());
    let digest = with_both.open(&federation.authority_key.public()).unwrap().digest();
    for more in [String::new(), format!("--trust-current {digest}")] {
        let name = if more.is_empty() { "west" } else { "east" };
        let why = approve(&federation, name, &more).unwrap_err();
        assert!(matches!(why, Failure::Verification(_)), "{why}");
        assert!(why.to_string().contains("OLDER roster") && why.to_string().contains("south"), "{why}");
    }
    let why = text(federation.run("clients revoke north --reason x --as @admin --authority @authority"));
    assert!(why.contains("OLDER roster"), "{why}");
    // What it was submitted meanwhile was the last one again, and no other.
    assert_eq!(*federation.run.roster.lock().unwrap(), without);
}

#[test]
fn a_roster_that_was_signed_before_a_crash_is_submitted_by_the_next_command() {
    let federation = Federation::new();
    approve(&federation, "north", "").unwrap();
    let before = federation.run.roster.lock().unwrap().clone();
    approve(&federation, "south", "").unwrap();
    // As if the crash had come before the submission.
    *federation.run.roster.lock().unwrap() = before;
    approve(&federation, "west", "").unwrap();
    let roster = federation.roster();
    let named: Vec<_> = roster.members.values().map(|member| member.name.as_str()).collect();
    assert_eq!((roster.epoch, named), (4, vec!["north", "south", "west"]));
}

#[test]
fn an_authority_that_remembers_nothing_asks_once_to_stand_for_the_roster_in_force() {
    let federation = Federation::new();
    approve(&federation, "north", "").unwrap();
    fs::remove_file(federation.path("authority").join(LAST_ROSTER_FILE)).unwrap();
    let why = approve(&federation, "south", "").unwrap_err().to_string();
    let digest = federation.roster().digest().to_string();
    assert!(why.contains(&format!("--trust-current {digest}")) && why.contains("north"), "{why}");
    let other = approve(&federation, "west", &format!("--trust-current {}", "0".repeat(64)));
    assert!(text(other).contains("nothing was signed"));
    approve(&federation, "east", &format!("--trust-current {digest}")).unwrap();
    approve(&federation, "coast", "").unwrap();
    assert_eq!(federation.roster().epoch, 4);
}

#[test]
fn a_roster_that_the_coordinator_refuses_keeps_its_epoch_and_the_next_is_signed_in_its_place() {
    let federation = Federation::new();
    approve(&federation, "north", "").unwrap();
    approve(&federation, "south", "").unwrap();
    federation.run("clients revoke south --reason poisoned --as @admin --authority @authority").unwrap();
    let refused = approve(&federation, "west", "--number 2").unwrap_err().to_string();
    assert!(refused.contains("the number 2 was another silo's"), "{refused}");
    assert!(refused.contains("epoch 5") && refused.contains("run this again, with --number 3"), "{refused}");
    // Former members' numbers are passed over, as far as the folder remembers.
    approve(&federation, "east", "").unwrap();
    let roster = federation.roster();
    let numbers: Vec<_> = roster.members.keys().map(|id| id.0).collect();
    assert_eq!((roster.epoch, numbers), (6, vec![1, 3]));
}

#[test]
fn a_coordinator_that_refuses_what_it_took_does_not_make_the_authority_forget_who_was_revoked() {
    let federation = Federation::new();
    approve(&federation, "north", "").unwrap();
    approve(&federation, "south", "").unwrap();
    let with_both = federation.run.roster.lock().unwrap().clone();
    federation.run("clients revoke south --reason poisoned --as @admin --authority @authority").unwrap();
    // The coordinator took that one; now it shows the one before, and refuses every other.
    *federation.run.frozen.lock().unwrap() = Some(with_both.clone());
    *federation.run.refused.lock().unwrap() = Some(vec![]);
    let digest = with_both.open(&federation.authority_key.public()).unwrap().digest();
    let why = approve(&federation, "west", "").unwrap_err();
    assert!(matches!(why, Failure::Verification(_)), "{why}");
    assert!(why.to_string().contains("had in force before") && why.to_string().contains(&digest.to_string()));
    // Whoever goes on from there all the same does so without whom the last one left out.
    approve(&federation, "east", &format!("--trust-current {digest}")).unwrap_err();
    let refused = federation.run.refused.lock().unwrap().take().unwrap();
    assert_eq!(
        refused.iter().map(|signed| names(&federation, signed)).collect::<Vec<_>>(),
        [vec!["north"], vec!["north"], vec!["north", "east"]]
    );
    assert_eq!(epochs(&federation, &refused), [4, 4, 5]);
}

fn names(federation: &Federation, signed: &SignedRoster) -> Vec<String> {
    let roster = signed.open(&federation.authority_key.public()).unwrap();
    roster.members.into_values().map(|member| member.name).collect()
}

fn epochs(federation: &Federation, signed: &[SignedRoster]) -> Vec<u64> {
    let key = federation.authority_key.public();
    signed.iter().map(|signed| signed.open(&key).unwrap().epoch).collect()
}

#[test]
fn a_refusal_before_anything_was_taken_does_not_make_the_authority_forget_who_was_revoked() {
    let federation = Federation::new();
    approve(&federation, "north", "").unwrap();
    approve(&federation, "south", "").unwrap();
    *federation.run.refused.lock().unwrap() = Some(vec![]);
    federation.run("clients revoke south --reason poisoned --as @admin --authority @authority").unwrap_err();
    approve(&federation, "west", "").unwrap_err();
    approve(&federation, "east", "").unwrap_err();
    let refused = federation.run.refused.lock().unwrap().take().unwrap();
    let named: Vec<_> = refused.iter().map(|signed| names(&federation, signed)).collect();
    let [without, west, east] = [vec!["north"], vec!["north", "west"], vec!["north", "east"]];
    assert_eq!(named, [without.clone(), without, west.clone(), west, east]);
    assert_eq!(epochs(&federation, &refused), [4, 4, 5, 5, 6], "no epoch has two rosters");
}

#[test]
fn an_answer_that_is_lost_costs_no_epoch_and_the_same_command_again_completes_it() {
    for arrived in [true, false] {
        let federation = Federation::new();
        approve(&federation, "north", "").unwrap();
        let fingerprint = federation.ask("south");
        let approve = "clients approve south --as @admin --authority @authority";
        let approve = format!("{approve} --fingerprint {fingerprint}");
        *federation.run.lost.lock().unwrap() = Some(!arrived);
        let why = text(federation.run(&approve));
        assert!(why.contains("is not known; run the same command again"), "{why}");
        // Twice: what is done is no fault.
        for _ in 0..2 {
            federation.run(&approve).unwrap();
            let signed = federation.run.roster.lock().unwrap().clone();
            assert_eq!(
                (federation.roster().epoch, names(&federation, &signed)),
                (3, vec!["north".into(), "south".into()])
            );
            assert!(
                federation
                    .registry
                    .admissions()
                    .iter()
                    .all(|admission| admission.state == RequestState::Admitted)
            );
        }
        let revoke = "clients revoke south --reason poisoned --as @admin --authority @authority";
        *federation.run.lost.lock().unwrap() = Some(!arrived);
        text(federation.run(revoke));
        // Where it arrived, no member has that name any more.
        assert_eq!(federation.run(revoke).is_err(), arrived);
        assert_eq!((federation.roster().epoch, federation.roster().members.len()), (4, 1));
    }
}

#[test]
fn a_coordinator_that_was_restored_gets_every_roster_again_that_it_lacks() {
    let federation = Federation::new();
    approve(&federation, "north", "").unwrap();
    let old = federation.run.roster.lock().unwrap().clone();
    approve(&federation, "south", "").unwrap();
    approve(&federation, "west", "").unwrap();
    federation.run("clients revoke south --reason poisoned --as @admin --authority @authority").unwrap();
    *federation.run.roster.lock().unwrap() = old;
    approve(&federation, "east", "").unwrap();
    let signed = federation.run.roster.lock().unwrap().clone();
    assert_eq!(
        (federation.roster().epoch, names(&federation, &signed).join(" ")),
        (6, "north west east".into())
    );
}

/// A copy of the authority's folder, as it is now.
fn copy(federation: &Federation, name: &str) {
    fs::create_dir(federation.path(name)).unwrap();
    for file in fs::read_dir(federation.path("authority")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), federation.path(name).join(file.file_name())).unwrap();
    }
}

#[test]
fn two_copies_of_the_authoritys_folder_go_on_from_one_roster_and_neither_undoes_what_the_other_revoked() {
    let federation = Federation::new();
    approve(&federation, "north", "").unwrap();
    approve(&federation, "south", "").unwrap();
    copy(&federation, "second");
    // Both sign on one roster: what the first signs arrives too late.
    let before = federation.run.roster.lock().unwrap().clone();
    let fingerprint = federation.ask("west");
    let second = "--as @admin --authority @second";
    federation.run(&format!("clients approve west {second} --fingerprint {fingerprint}")).unwrap();
    *federation.run.frozen.lock().unwrap() = Some(before);
    *federation.run.refused.lock().unwrap() = Some(vec![]);
    let revoke = "clients revoke south --reason poisoned --as @admin --authority @authority";
    federation.run(revoke).unwrap_err();
    *federation.run.frozen.lock().unwrap() = None;
    *federation.run.refused.lock().unwrap() = None;

    let digest = federation.roster().digest();
    let why = text(federation.run(revoke));
    assert!(why.contains("OLDER") && why.contains(&format!("--trust-current {digest}")), "{why}");
    approve(&federation, "east", &format!("--trust-current {digest}")).unwrap();
    let signed = federation.run.roster.lock().unwrap().clone();
    assert_eq!(
        (federation.roster().epoch, names(&federation, &signed).join(" ")),
        (5, "north west east".into())
    );

    // The second copy knows nothing of that one, and takes it at a person's word only.
    let revoke = format!("clients revoke west --reason poisoned {second}");
    let digest = federation.roster().digest();
    assert!(text(federation.run(&revoke)).contains("If another copy of the authority's folder signed it"));
    federation.run(&format!("{revoke} --trust-current {digest}")).unwrap();
    let signed = federation.run.roster.lock().unwrap().clone();
    assert_eq!((federation.roster().epoch, names(&federation, &signed).join(" ")), (6, "north east".into()));
}

#[test]
fn a_revocation_that_the_coordinator_refuses_is_signed_again_under_an_epoch_of_its_own() {
    let federation = Federation::new();
    approve(&federation, "north", "").unwrap();
    approve(&federation, "south", "").unwrap();
    let revoke = "clients revoke south --reason poisoned --as @admin --authority @authority";
    *federation.run.refused.lock().unwrap() = Some(vec![]);
    federation.run(revoke).unwrap_err();
    federation.run(revoke).unwrap_err();
    let refused = federation.run.refused.lock().unwrap().take().unwrap();
    let key = federation.authority_key.public();
    let epochs: Vec<_> = refused.iter().map(|signed| signed.open(&key).unwrap().epoch).collect();
    assert_eq!(epochs, [4, 4, 5]);
    federation.run(revoke).unwrap();
    assert_eq!((federation.roster().epoch, federation.roster().members.len()), (5, 1));
}
