//! Who is let in: a fingerprint that was given, or a person's word.

use super::*;
use crate::program::{FAILED, VERIFICATION};

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
