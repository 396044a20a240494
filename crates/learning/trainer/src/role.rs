//! What a trainer is there for. It is fixed by the trainer's command line, before its daemon has met the network, and by a file that the
//! daemon cannot write: whoever takes the daemon over later changes neither.

use dp::AdaptiveClip;
use plan::{AuthoredPlan, Plan, Policy, PolicyError, Problem, SignedPlan};
use registration::Registration;
use serde::Deserialize;

/// See the module.
#[derive(Debug)]
pub enum TrainerRole {
    /// To train, for plans that this policy of the silo allows.
    Train(Box<Policy>),
    /// To describe the files to the silo's operator, who may see them.
    Describe,
}

/// What is read of a silo's configuration.
#[derive(Deserialize)]
struct Configuration {
    policy: Policy,
}

impl TrainerRole {
    /// To train by the policy in a silo's configuration.
    ///
    /// # Errors
    /// A text that has none, or one that cannot be meant.
    pub(crate) fn by_configuration(text: &str) -> Result<Self, PolicyError> {
        let syntax = |why: toml::de::Error| PolicyError::Syntax(why.message().to_owned());
        let Configuration { policy } = toml::from_str(text).map_err(syntax)?;
        policy.validate().map_err(PolicyError::Meaning)?;
        Ok(Self::Train(Box::new(policy)))
    }

    /// The same, where plans are held against what is registered, whatever the policy says of columns.
    ///
    /// # Errors
    /// A registration that fits no plan that is trained for.
    pub(crate) fn registered(mut self, registration: Option<&Registration>) -> Result<Self, Problem> {
        if let (Self::Train(policy), Some(registration)) = (&mut self, registration) {
            policy.schema = Some(registration.schema()?);
        }
        Ok(self)
    }

    /// A plan that its author signed and the policy allows.
    ///
    /// # Errors
    /// What speaks against training for it, in words.
    pub(crate) fn verify(&self, plan: SignedPlan) -> Result<AuthoredPlan, String> {
        let Self::Train(policy) = self else {
            return Err("it was started to describe files, and trains nothing".into());
        };
        let plan = plan.open().map_err(|why| format!("it trains for no such plan: {why}"))?;
        policy
            .check(&plan)
            .map_err(|why| format!("it trains for no plan that the silo's policy refuses: {why}"))?;
        Ok(plan)
    }

    /// Whether it describes files.
    ///
    /// # Errors
    /// Where it was started to train, in words.
    pub(crate) fn describes(&self) -> Result<(), String> {
        match self {
            Self::Describe => Ok(()),
            Self::Train(_) => {
                Err("it was started to train, and describes no files: run `folkmoot-client doctor`".into())
            }
        }
    }
}

/// Whether some round of this plan clips to this L2 norm, none in the mode without noise. The state before a round is not known here: where
/// the norm moves, this is all that the plan's rounds can lead to.
///
/// # Errors
/// A clip norm that no round has, in words.
pub(crate) fn check_clip_norm(plan: &Plan, clip_norm: Option<f64>) -> Result<(), String> {
    let (first, norm) = match (plan.clip_norm(), clip_norm) {
        (Some(first), Some(norm)) => (first, norm),
        (None, None) => return Ok(()),
        (None, Some(norm)) => return Err(format!("the plan's mode clips nothing, and {norm} was asked for")),
        (Some(first), None) => {
            return Err(format!(
                "the plan's mode clips, and begins with {first}, and no clip norm was given"
            ));
        }
    };
    let is_reached = plan.adaptive_clipping().map_or(Ok(norm == first), |moves| {
        let clip = AdaptiveClip::new(first, moves.target_quantile, moves.learning_rate, moves.share);
        let steps = plan.rounds.checked_sub(1).ok_or("the plan has no round")?;
        Ok::<_, String>(clip.map_err(|why| why.to_string())?.reaches_within(norm, steps))
    })?;
    match is_reached {
        true => Ok(()),
        false => Err(format!("no round of the plan, which begins with {first}, clips to {norm}")),
    }
}

#[cfg(test)]
mod tests {
    use plan::AdaptiveClipping;

    use super::*;

    #[test]
    fn a_clip_norm_that_no_round_of_the_plan_has_is_refused_without_the_state_before_it() {
        let constant = Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap();
        let mut moving = constant.clone();
        *moving.privacy.promise_mut().unwrap().adaptive_clip_mut().unwrap() =
            Some(AdaptiveClipping { target_quantile: 0.5, learning_rate: 0.2, share: 0.2 });
        let two_rounds = Plan { rounds: 2, ..moving.clone() };
        for (plan, fits, beyond) in [
            (&constant, vec![0.5], vec![0.5_f64.next_up(), 0.5_f64.next_down(), f64::INFINITY, f64::NAN]),
            (&moving, vec![0.5, 512.0, 0.5 / 1024.0], vec![513.0, 0.0, f64::NAN]),
            (&two_rounds, vec![0.5, 1.0, 0.25], vec![1.001, 0.249]),
        ] {
            for clip_norm in fits {
                assert_eq!(check_clip_norm(plan, Some(clip_norm)), Ok(()), "{clip_norm}");
            }
            for clip_norm in beyond.into_iter().map(Some).chain([None]) {
                let why = check_clip_norm(plan, clip_norm).unwrap_err();
                assert!(why.contains("begins with 0.5"), "{why}");
            }
        }
        let exact = sim::plan(3, 2);
        assert_eq!(check_clip_norm(&exact, None), Ok(()));
        assert!(check_clip_norm(&exact, Some(0.5)).unwrap_err().contains("clips nothing"));
    }

    #[test]
    fn no_plan_is_trained_for_that_asks_for_what_is_not_registered_whatever_the_policy_says() {
        let plan = sim::plan(3, 2);
        let key = identity::IdentityKey::from_secret_hex(&"01".repeat(32)).unwrap();
        let author: String = key.public().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let policy = Policy {
            privacy_modes: [plan::PrivacyMode::Fedavg].into(),
            schema: Some(plan::Schema::default()),
            ..Policy::for_authors([author])
        };
        let verify = |columns: &str| {
            let registration = Registration::from_toml(&format!("format = 1\n[columns]\n{columns}")).unwrap();
            let role = TrainerRole::Train(Box::new(policy.clone())).registered(Some(&registration));
            let signed = plan.clone().sign(&key).signed().clone();
            role.map_err(|why| why.to_string())?.verify(signed).map(drop)
        };
        let columns = |of_c: &str| {
            format!(
                "label = {{ type = \"label\", classes = 2 }}\na = {{ type = \"number\" }}\nb = {{ type = \"number\" }}\nc = {{ {of_c} }}\n"
            )
        };
        assert_eq!(verify(&columns("from = \"C\", type = \"number\"")), Ok(()));
        let why = verify(&columns("type = \"date\"")).unwrap_err();
        assert!(why.contains("policy refuses") && why.contains("\"c\"") && why.contains("date"), "{why}");
        assert!(verify(&columns("type = \"ignore\"")).unwrap_err().contains("\"c\""));
        assert!(verify("a = { type = \"number\" }\n").unwrap_err().contains("have no label"));
    }

    #[test]
    fn the_policy_of_a_configuration_is_read_among_its_other_tables_and_checked() {
        let author = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let sample = include_str!("../../../../deploy/config/client.toml");
        let sample = &sample.replace("REPLACE-WITH-THE-AUTHORS-KEY", author);
        let policy = |text: &str| match TrainerRole::by_configuration(text) {
            Ok(TrainerRole::Train(policy)) => Ok(policy),
            Ok(role) => panic!("{role:?}"),
            Err(why) => Err(why.to_string()),
        };
        let whole = policy(sample).unwrap();
        assert!(whole.cohort_min >= 3 && !whole.authors.is_empty());
        let (from, few) = (format!("cohort_min = {}", whole.cohort_min), "cohort_min = 2");
        assert_eq!(sample.matches(&from).count(), 1);
        assert!(policy(&sample.replace(&from, few)).unwrap_err().contains("cohort_min: must be at least 3"));
        let why = policy(&sample.replace(&from, "cohort_mim = 3")).unwrap_err();
        assert!(why.contains("unknown field `cohort_mim`"), "{why}");
        assert!(policy("client_id = 1\n").unwrap_err().contains("missing field `policy`"));
    }
}
