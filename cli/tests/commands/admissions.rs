//! Who is let in: a fingerprint that was given, or a person's word.

use super::*;
use crate::program::{FAILED, USAGE, VERIFICATION};

const APPROVE: &str = "clients approve south --as admin --authority authority";

#[test]
fn a_fingerprint_that_was_given_is_compared_and_nothing_is_asked() {
    let federation = Federation::new();
    let south = federation.ask("south").to_uppercase();
    let why = federation.answer(&format!("{APPROVE} --fingerprint 0000-0000"), "y\n");
    assert!(why.code == VERIFICATION && why.err.contains("refuse south"), "{}", why.err);
    let admitted = federation.answer(&format!("{APPROVE} --fingerprint {south}"), "");
    assert!(admitted.code == 0 && !admitted.out.contains("[y/N]"), "{}{}", admitted.out, admitted.err);
}

#[test]
fn a_silo_that_no_roster_names_any_more_is_let_in_again_by_its_name() {
    let federation = Federation::new();
    federation.ask("south");
    assert_eq!(federation.answer(&format!("{APPROVE} --yes"), "").code, 0);
    federation.run("clients revoke south --reason odd --as @admin --authority @authority").unwrap();
    assert!(federation.roster().members.is_empty());
    let listed = federation.answer("access list --as admin", "");
    assert!(listed.out.contains("barred     silo 1 south"), "{}", listed.out);
    let restored = federation.answer("clients restore south --reason fine --as admin", "");
    assert!(restored.out.contains("silo 1 is barred no longer"), "{}{}", restored.out, restored.err);
    let nobody = federation.answer("clients restore nobody --reason fine --as admin", "");
    assert!(nobody.code == USAGE && nobody.err.contains("access list"), "{}", nobody.err);
}

#[test]
fn a_former_member_that_asks_with_its_old_keys_is_admitted_under_another_number_with_a_warning_that_names_its_own()
 {
    let federation = Federation::new();
    let key = IdentityKey::generate(&mut UnwrapErr(rand::rngs::SysRng));
    federation.ask_with("south", &key);
    assert_eq!(federation.answer(&format!("{APPROVE} --yes"), "").code, 0);
    federation.run("clients revoke south --reason odd --as @admin --authority @authority").unwrap();
    federation.run("clients restore south --reason fine --as @admin").unwrap();
    federation.ask_with("south", &key);
    let warned = federation.answer(APPROVE, "n\n");
    assert!(
        warned.err.contains("south was silo 1 and asks with the keys of its old folder"),
        "{}",
        warned.err
    );
    assert!(warned.err.contains("clients approve south --number 1 "), "{}", warned.err);
    let admitted = federation.answer(&format!("{APPROVE} --number 1 --yes"), "");
    assert!(admitted.code == 0 && !admitted.err.contains("warning"), "{}", admitted.err);
    assert_eq!(federation.roster().members.keys().copied().collect::<Vec<_>>(), [ClientId(1)]);
}

#[test]
fn silence_and_anything_but_yes_admit_nobody() {
    for (answer, admitted) in [("y\n", true), ("yes\n", true), ("n\n", false), ("\n", false), ("", false)] {
        let federation = Federation::new();
        federation.ask("south");
        let ended = federation.answer(APPROVE, answer);
        assert_eq!(ended.code, if admitted { 0 } else { FAILED }, "{answer:?}: {}", ended.err);
        assert_eq!(federation.roster().members.len(), usize::from(admitted), "{answer:?}");
    }
    let federation = Federation::new();
    federation.ask("south");
    assert_eq!(federation.answer(&format!("{APPROVE} --yes"), "").code, 0);
}
