//! Rosters that a key in the clear signs by hand.

use identity::{AuthorisedRoster, IdentityKey, SignedRoster, identity_fingerprint, spoken};

use crate::program::{Ended, Here, USAGE};

/// A folder with the keys of an authority, a coordinator and two silos.
struct Keys(Here);

impl Keys {
    fn new() -> Self {
        let here = Here::new();
        for key in ["authority", "coordinator", "a", "b"] {
            here.done(&format!("keys new {key}"));
        }
        Self(here)
    }

    fn key(&self, name: &str) -> IdentityKey {
        IdentityKey::from_secret_hex(self.0.read(name).trim_end()).unwrap()
    }

    fn public(&self, name: &str) -> String {
        hex::encode(self.key(name).public().as_bytes())
    }

    fn sign(&self, epoch: u64, previous: Option<&str>, out: &str, members: &[(u32, &str)]) -> Ended {
        let mut line = format!(
            "roster sign --authority authority --federation test --epoch {epoch} --coordinator-key {} --out {out}",
            self.public("coordinator")
        );
        for (id, name) in members {
            line.push_str(&format!(" --member {id}:{name}:{}", self.public(name)));
        }
        if let Some(previous) = previous {
            line.push_str(&format!(" --previous {previous}"));
        }
        self.0.run(&line)
    }

    /// What was signed, read as every silo reads it.
    fn signed(
        &self,
        epoch: u64,
        previous: Option<&str>,
        out: &str,
        members: &[(u32, &str)],
    ) -> AuthorisedRoster {
        let ended = self.sign(epoch, previous, out, members);
        assert_eq!(ended.code, 0, "{}", ended.err);
        let signed: SignedRoster = serde_json::from_str(&self.0.read(out)).unwrap();
        let roster = signed.authorise(&self.key("authority").public()).unwrap();
        assert_eq!(roster.members.len(), members.len());
        roster
    }

    fn refused(&self, epoch: u64, previous: Option<&str>, out: &str, members: &[(u32, &str)]) -> Ended {
        let ended = self.sign(epoch, previous, out, members);
        assert_ne!(ended.code, 0, "{out}");
        ended
    }
}

const ALL: [(u32, &str); 2] = [(1, "a"), (2, "b")];

#[test]
fn a_signed_roster_opens_under_the_authority_and_is_never_overwritten() {
    let keys = Keys::new();
    keys.signed(4, None, "roster.json", &ALL);
    let again = keys.refused(4, None, "roster.json", &[(1, "a")]);
    assert!(again.code == USAGE && again.err.contains("exists"), "{}", again.err);
}

#[test]
fn a_roster_signed_by_hand_follows_the_last_one_signed_with_the_key_and_no_other() {
    let keys = Keys::new();
    let first = keys.signed(4, None, "4.json", &ALL);
    let without = [(1, "a")];
    let second = keys.signed(5, None, "5.json", &without);
    assert_eq!(second.previous, Some(first.digest()));
    // Whom the second one left out would come back.
    let older = keys.refused(6, Some("4.json"), "6.json", &ALL).err;
    assert!(older.contains("of epoch 5") && older.contains("Nothing was signed"), "{older}");
    assert!(!keys.0.path("6.json").exists());
    let again = keys.signed(5, None, "5-again.json", &without);
    assert_eq!(again.signed().roster, second.signed().roster, "its file was lost");
    // No two of one epoch.
    keys.refused(5, None, "another-5.json", &ALL);
    assert_eq!(keys.signed(6, Some("5.json"), "6.json", &ALL).previous, Some(second.digest()));
}

#[test]
fn a_roster_is_shown_with_the_fingerprints_that_people_compare() {
    let keys = Keys::new();
    keys.signed(4, None, "roster.json", &ALL);
    let shown = keys.0.done("roster show roster.json");
    assert!(shown.contains("epoch        4\n"), "{shown}");
    assert!(shown.contains(&spoken(&identity_fingerprint("b", &keys.key("b").public()))), "{shown}");
}

#[test]
fn a_roster_that_silos_would_refuse_is_not_signed() {
    let keys = Keys::new();
    let number = keys.refused(4, None, "roster.json", &[(1, "a"), (1, "b")]).err;
    assert!(number.contains("given twice"), "{number}");
    let key = keys.refused(4, None, "roster.json", &[(1, "a"), (2, "a")]).err;
    assert!(key.contains("repeats another's key"), "{key}");
    assert!(!keys.0.path("roster.json").exists());
}

#[test]
fn a_mistyped_member_is_refused_with_its_form() {
    let keys = Keys::new();
    for (member, why) in
        [("1:north", "ID:NAME:HEX"), ("x:north:00", "no number"), ("1:north:zz", "64 hexadecimal digits")]
    {
        let line = "roster sign --authority authority --federation test --epoch 4 --coordinator-key 00 --out roster.json";
        let said = keys.0.refused(&format!("{line} --member {member}"), USAGE);
        assert!(said.contains(why), "{said}");
    }
}
