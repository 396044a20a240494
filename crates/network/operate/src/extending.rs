//! A plan that goes on from what a run has come to.

use checkpoint::Manifest;
use identity::printable;
use params::Digest;
use plan::{AuthorError, ParentModel, Plan, Problems};
use run_status::RunState;

use crate::connect::{ConnectError, Link};
use crate::models::{Models, ModelsError};
use crate::runs::Runs;

/// Why there is no plan that goes on from a run.
#[derive(Debug, thiserror::Error)]
pub enum ExtendError {
    /// The coordinator's answer, or none.
    #[error(transparent)]
    Call(#[from] ConnectError),
    /// Its chain does not verify, or its newest model is not for use.
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// What it shows as the run's plan is none.
    #[error("the coordinator shows no signed plan of this run: {0}")]
    Plan(#[from] AuthorError),
    /// The chain is of another plan than the one that is shown.
    #[error("the coordinator shows another plan of this run than its records name")]
    AnotherPlan,
    /// It may still publish.
    #[error("`{}` is {state}: go on from it once it is over, or stop it first", printable(.name))]
    NotOver {
        name: String,
        /// In which nobody knows yet what its last model is.
        state: RunState,
    },
    /// There is nothing to go on from.
    #[error("`{}` has committed no round: submit its plan again", printable(.0))]
    NoRound(String),
    /// With so many rounds it means something impossible.
    #[error("with these rounds the plan is not usable:\n{0}")]
    Meaning(Problems),
}

/// The plan of a run that is over, for so many more rounds from its newest model on, under a name of its own. It is to be numbered
/// and signed.
///
/// # Errors
/// [`ExtendError`].
pub async fn extension(
    link: Link,
    run: Digest,
    rounds: u64,
    name: Option<String>,
) -> Result<Plan, ExtendError> {
    let (entry, signed) = Runs::over(link.clone()).show(Some(run)).await?;
    if !entry.state.is_over() {
        return Err(ExtendError::NotOver { name: entry.name, state: entry.state });
    }
    let plan = signed.open()?;
    let mut models = Models::over(link, None).of_run(Some(run));
    let records = models.new_records().await?;
    let newest = records.last().filter(|newest| newest.round > 0);
    let newest = newest.ok_or(ExtendError::NoRound(entry.name))?;
    if newest.plan_digest != plan.digest() || newest.run_id != run {
        return Err(ExtendError::AnotherPlan);
    }
    models.check_use(newest)?;
    going_on(&plan, newest, rounds, name)
}

fn going_on(plan: &Plan, newest: &Manifest, rounds: u64, name: Option<String>) -> Result<Plan, ExtendError> {
    let (round, model) = (newest.round, newest.model.params_digest);
    let name = name.unwrap_or_else(|| format!("{}-from-{round}", plan.name));
    let parent = Some(ParentModel { run: newest.run_id, round, model });
    let plan = Plan { name, rounds, parent, ..plan.clone() }.of_newest_format();
    plan.validate().map_err(ExtendError::Meaning)?;
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_goes_on_from_the_newest_model_and_changes_nothing_else() {
        let plan = Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap();
        let newest = checkpoint::samples::bare(12);
        let next = going_on(&plan, &newest, 5, None).unwrap();
        assert_eq!((next.name.as_str(), next.rounds, next.rounds_in_all()), ("example-from-12", 5, 17));
        assert_eq!(next.starts_from(), newest.model.params_digest);
        assert_eq!(next.parent.unwrap().run, newest.run_id);
        let (name, rounds) = (plan.name.clone(), plan.rounds);
        assert_eq!(Plan { name, rounds, parent: None, format: None, ..next }, plan);

        let named = going_on(&plan, &newest, 5, Some("again".into())).unwrap();
        assert_eq!(named.name, "again");
        let none = going_on(&plan, &newest, 0, None).unwrap_err().to_string();
        assert!(none.contains("rounds"), "{none}");
    }
}
