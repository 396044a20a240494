//! A plan with its author's signature: what the coordinator passes on and can neither alter nor weaken.

use std::ops::Deref;

use ed25519_dalek::{Signature, Signer, VerifyingKey};
use identity::{IdentityKey, KeyError, parse_verifying_key};
use serde::{Deserialize, Serialize};

use crate::document::{Plan, PlanError};

const SIGNATURE_LABEL: &[u8] = b"folkmoot/v1/sig/plan\0";

/// The signed plan's file, in a run's folder and beside each model that was trained under it.
pub const PLAN_FILE: &str = "plan.json";

/// A plan's canonical bytes with its author's signature over them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedPlan {
    pub plan: String,
    /// The author's Ed25519 key, hexadecimal. A silo's policy says whose plans it runs.
    pub author: String,
    /// Ed25519 signature, hexadecimal.
    pub signature: String,
}

/// A plan whose author's signature verified.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthoredPlan {
    plan: Plan,
    author: VerifyingKey,
    signed: SignedPlan,
}

/// Why a signed plan was refused.
#[derive(Debug, thiserror::Error)]
pub enum AuthorError {
    /// Not the file's format.
    #[error("this is no signed plan ({0}); make one with `folkmoot plan sign`")]
    Syntax(String),
    /// The author's key is none.
    #[error("the author's key cannot be used: {0}")]
    Key(#[from] KeyError),
    /// Altered, or signed by somebody else.
    #[error("the plan is not what its author signed; ask the author for the signed file again")]
    Signature,
    /// What was signed is no usable plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl Plan {
    /// Signs the plan as its author.
    pub fn sign(self, author: &IdentityKey) -> AuthoredPlan {
        let bytes = self.to_canonical();
        let signature = author.signing_key().sign(&[SIGNATURE_LABEL, &bytes].concat());
        let signed = SignedPlan {
            // JSON is UTF-8, so nothing is lost.
            plan: String::from_utf8_lossy(&bytes).into_owned(),
            author: hex::encode(author.public().as_bytes()),
            signature: hex::encode(signature.to_bytes()),
        };
        AuthoredPlan { plan: self, author: author.public(), signed }
    }
}

impl SignedPlan {
    /// Most bytes of the file, around the canonical bytes: every character of them may be escaped.
    pub const BYTES_MAX: usize = 2 * Plan::BYTES_MAX + 1024;

    /// The line of the file that `folkmoot plan sign` writes.
    ///
    /// # Panics
    /// Never: every field is a text.
    #[allow(clippy::expect_used)]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a signed plan holds nothing that JSON cannot")
    }

    /// Reads the file that `folkmoot plan sign` wrote.
    ///
    /// # Errors
    /// [`AuthorError::Syntax`].
    pub fn from_json(text: &str) -> Result<Self, AuthorError> {
        serde_json::from_str(text).map_err(|why| AuthorError::Syntax(why.to_string()))
    }

    /// Checks the named author's signature, then reads. Whether that author may ask for anything is the policy's to
    /// say ([`crate::Policy::check`]).
    ///
    /// # Errors
    /// [`AuthorError`].
    pub fn open(self) -> Result<AuthoredPlan, AuthorError> {
        let author = parse_verifying_key(&self.author)?;
        let mut signature = [0u8; 64];
        hex::decode_to_slice(&self.signature, &mut signature).map_err(|_| AuthorError::Signature)?;
        author
            .verify_strict(
                &[SIGNATURE_LABEL, self.plan.as_bytes()].concat(),
                &Signature::from_bytes(&signature),
            )
            .map_err(|_| AuthorError::Signature)?;
        let plan = Plan::from_canonical(self.plan.as_bytes())?;
        Ok(AuthoredPlan { plan, author, signed: self })
    }
}

impl AuthoredPlan {
    /// Who signed it.
    pub fn author(&self) -> &VerifyingKey {
        &self.author
    }

    /// As it travels.
    pub fn signed(&self) -> &SignedPlan {
        &self.signed
    }
}

impl Deref for AuthoredPlan {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.plan
    }
}

#[cfg(test)]
mod tests {
    use params::Digest;

    use super::*;
    use crate::document::ParentModel;
    use crate::refusal::Refusal;

    fn key(byte: u8) -> IdentityKey {
        IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap()
    }

    fn signed() -> SignedPlan {
        let plan = Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap();
        plan.sign(&key(1)).signed().clone()
    }

    #[test]
    fn a_signed_plan_opens_to_what_its_author_signed() {
        let opened = signed().open().unwrap();
        assert_eq!(*opened.author(), key(1).public());
        assert_eq!(opened.name, "example");
        let file = opened.signed().to_json();
        assert!(file.len() < SignedPlan::BYTES_MAX);
        let again = SignedPlan::from_json(&file).unwrap();
        assert_eq!(again.open().unwrap(), opened);
    }

    fn sample() -> Plan {
        Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap()
    }

    fn refusal(plan: Plan) -> String {
        plan.sign(&key(1)).signed().clone().open().unwrap_err().to_string()
    }

    #[test]
    fn a_plan_of_the_first_format_keeps_its_bytes_its_digest_and_its_authors_signature() {
        let signed = signed();
        assert!(
            signed.plan.starts_with("{\"name\":\"example\",\"rounds\":30,\"model\":{"),
            "{}",
            signed.plan
        );
        let opened = signed.clone().open().unwrap();
        assert_eq!((opened.format(), &opened.format), (1, &None));
        assert_eq!(
            opened.digest().to_string(),
            "7567e9881d77de66d809dd4d95c0b1698e0cb6ecdb0b0fbad5cd48e3d49d163a"
        );
        assert_eq!(opened.signed(), &signed);
    }

    #[test]
    fn two_plans_that_say_the_same_are_two_once_they_are_numbered() {
        let [one, other] = [1, 2].map(|byte| sample().numbered([byte; Plan::ID_BYTES]).sign(&key(1)));
        assert_ne!(one.digest(), other.digest());
        let opened = one.signed().clone().open().unwrap();
        assert_eq!((opened.format(), opened.id.as_deref()), (2, Some("01".repeat(16).as_str())));
        assert!(one.signed().plan.starts_with("{\"format\":2,\"id\":\"0101"), "{}", one.signed().plan);
        assert_eq!(Plan::from_toml(&opened.to_toml()).unwrap().digest(), one.digest());
    }

    #[test]
    fn a_plan_of_a_later_format_is_refused_by_its_number_whatever_else_it_says() {
        let later = Plan { format: Some(4), ..sample().numbered([1; Plan::ID_BYTES]) };
        assert!(refusal(later).contains("format 4, this release reads formats 1 to 3"));
        let why = Plan::from_toml("format = 4\nsomething_new = true\n").unwrap_err();
        assert!(matches!(why, PlanError::Format { format: 4 }), "{why}");
    }

    #[test]
    fn what_only_a_numbered_plan_can_say_is_refused_elsewhere() {
        let numbered = || sample().numbered([1; Plan::ID_BYTES]);
        for (plan, field) in [
            (sample().as_it_is_signed(), "id: is missing"),
            (Plan { id: Some("01".repeat(16)), ..sample() }, "id: means nothing"),
            (Plan { federation: Some("clinics".into()), ..sample() }, "federation: means nothing"),
            (Plan { id: Some("01".repeat(15)), ..numbered() }, "id: must be 16 or 32"),
            (Plan { id: Some("AB".repeat(16)), ..numbered() }, "id: must be 16 or 32"),
            (Plan { federation: Some("a\nb".into()), ..numbered() }, "federation: must be"),
            (Plan { parent: Some(parent(1)), ..sample() }, "parent: means nothing"),
            (Plan { parent: Some(parent(0)), ..numbered() }, "parent.round: must be at least 1"),
            (patient(sample(), 3), "timing.patience_days: means nothing"),
            (patient(numbered(), 0), "timing.patience_days: must be between 1 and 365, or left out for 7"),
            (patient(numbered(), 366), "timing.patience_days: must be between 1 and 365, or left out for 7"),
            (Plan { format: Some(1), ..sample() }, "format: must be 2 to 3, or left out"),
        ] {
            let why = refusal(plan);
            assert!(why.contains(field), "no {field:?} in {why}");
        }
        let wide = Plan { id: Some("0a".repeat(32)), federation: Some("clinics".into()), ..numbered() };
        wide.sign(&key(1)).signed().clone().open().unwrap();
    }

    fn patient(mut plan: Plan, days: u32) -> Plan {
        plan.timing.patience_days = Some(days);
        plan
    }

    #[test]
    fn a_plan_says_how_many_days_its_run_waits_for_willing_silos_and_seven_where_it_does_not() {
        let plan = patient(sample().numbered([1; Plan::ID_BYTES]), 30);
        let opened = plan.sign(&key(1)).signed().clone().open().unwrap();
        assert_eq!(opened.timing.patience_ms(), 30 * 24 * 3_600_000);
        assert_eq!(Plan::from_toml(&opened.to_toml()).unwrap().digest(), opened.digest());
        // Without one nothing changes, the digest of plans that were signed before neither.
        assert_eq!(sample().timing.patience_ms(), 7 * 24 * 3_600_000);
        assert!(!sample().to_toml().contains("patience"));
    }

    fn parent(round: u64) -> ParentModel {
        let [run, model] = [b"run", b"old"].map(|text| Digest::sha256(text));
        ParentModel { run, round, model, rounds_before: 0 }
    }

    #[test]
    fn a_plan_that_goes_on_from_another_runs_model_starts_from_it_and_counts_its_rounds() {
        let plan = Plan { parent: Some(parent(12)), ..sample().numbered([1; Plan::ID_BYTES]) };
        let signed = plan.clone().sign(&key(1)).signed().clone();
        assert!(signed.plan.contains(r#""parent":{"run":""#), "{}", signed.plan);
        let opened = signed.open().unwrap();
        assert_eq!((opened.starts_from(), opened.rounds_in_all()), (parent(12).model, opened.rounds + 12));
        assert_eq!(Plan::from_toml(&opened.to_toml()).unwrap().digest(), opened.digest());
        // Without one nothing changes.
        assert_eq!(
            (sample().starts_from(), sample().rounds_in_all()),
            (sample().initial_model().digest(), 30)
        );
        assert!(!sample().to_toml().contains("parent"));
    }

    #[test]
    fn a_plan_counts_the_rounds_of_all_runs_before_it_and_one_that_says_nothing_of_them_keeps_its_bytes() {
        let child = |parent| Plan { parent: Some(parent), ..sample().numbered([1; Plan::ID_BYTES]) };
        let first = child(parent(12));
        assert!(!first.sign(&key(1)).signed().plan.contains("rounds_before"));
        let later = child(ParentModel { rounds_before: 40, ..parent(12) });
        let opened = later.sign(&key(1)).signed().clone().open().unwrap();
        assert_eq!((opened.rounds_before(), opened.rounds_in_all()), (52, opened.rounds + 52));
        assert_eq!(Plan::from_toml(&opened.to_toml()).unwrap().digest(), opened.digest());
        let endless = child(ParentModel { rounds_before: u64::MAX, ..parent(12) });
        assert_eq!(endless.rounds_in_all(), u64::MAX);
    }

    #[test]
    fn a_plan_that_counts_fewer_rounds_than_its_parents_plan_is_found_out() {
        let child = |rounds_before| Plan {
            parent: Some(ParentModel { rounds_before, ..parent(5) }),
            ..sample().numbered([1; Plan::ID_BYTES])
        };
        let middle = child(40);
        assert_eq!(child(45).check_rounds_before(middle.rounds_before()), Ok(()));
        assert_eq!(child(46).check_rounds_before(middle.rounds_before()), Ok(()));
        let refused = child(44).check_rounds_before(middle.rounds_before()).unwrap_err();
        assert_eq!(
            (refused.code(), refused),
            ("PLAN_ROUNDS_BEFORE", Refusal::RoundsBefore { stated: 44, least: 45 })
        );
        assert_eq!(child(0).check_rounds_before(sample().rounds_before()), Ok(()));
    }

    #[test]
    fn a_text_that_names_a_federation_needs_no_format_and_holds_there_alone() {
        let text = include_str!("../../../../deploy/config/plan.toml");
        let plan = Plan::from_toml(&format!("federation = \"clinics\"\n{text}")).unwrap();
        assert_eq!(plan.format(), 2);
        plan.check_federation("clinics").unwrap();
        let why = plan.check_federation("banks").unwrap_err();
        assert_eq!(why.code(), "PLAN_FEDERATION");
        assert!(why.to_string().contains("\"clinics\"") && why.to_string().contains("\"banks\""), "{why}");
        sample().check_federation("banks").unwrap();
    }

    #[test]
    fn a_plan_that_anyone_altered_or_signed_in_the_authors_name_is_refused() {
        let mut weaker = signed();
        weaker.plan = weaker.plan.replace("\"honest_min\":2", "\"honest_min\":1");
        assert_ne!(weaker, signed());
        assert!(matches!(weaker.open(), Err(AuthorError::Signature)));
        let mut forged = signed();
        forged.author = hex::encode(key(2).public().as_bytes());
        assert!(matches!(forged.open(), Err(AuthorError::Signature)));
        let mut short = signed();
        short.signature.pop();
        assert!(matches!(short.open(), Err(AuthorError::Signature)));
    }
}
