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

/// The plan of a run that is over, for so many more rounds from its newest model on, under the name that is given or one that no
/// run has yet. It is to be numbered and signed.
///
/// # Errors
/// [`ExtendError`].
pub async fn extension(
    link: Link,
    run: Digest,
    rounds: u64,
    name: Option<String>,
) -> Result<Plan, ExtendError> {
    let mut runs = Runs::over(link.clone());
    let (entry, signed) = runs.show(Some(run)).await?;
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
    let name = match name {
        Some(name) => name,
        None => {
            let taken: Vec<String> = runs.list().await?.into_iter().map(|run| run.name).collect();
            new_name(&format!("{}-from-{}", plan.name, newest.round), &taken)
        }
    };
    going_on(&plan, newest, rounds, name)
}

/// The name, with a number behind it where a run has it already: what is named by a name is to be one run.
fn new_name(name: &str, taken: &[String]) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(|name| !taken.contains(name)).unwrap_or_else(|| name.to_owned())
}

fn going_on(plan: &Plan, newest: &Manifest, rounds: u64, name: String) -> Result<Plan, ExtendError> {
    let (round, model) = (newest.round, newest.model.params_digest);
    let parent = Some(ParentModel { run: newest.run_id, round, model, rounds_before: plan.rounds_before() });
    let plan = Plan { name, rounds, parent, ..plan.clone() }.as_it_is_signed();
    plan.validate().map_err(ExtendError::Meaning)?;
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use plan::{Policy, Refusal};

    use super::*;

    #[test]
    fn a_plan_goes_on_from_the_newest_model_and_changes_nothing_else() {
        let plan = Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap();
        let newest = checkpoint::samples::bare(12);
        let next = going_on(&plan, &newest, 5, "example-from-12".into()).unwrap();
        assert_eq!((next.name.as_str(), next.rounds, next.rounds_in_all()), ("example-from-12", 5, 17));
        assert_eq!(next.starts_from(), newest.model.params_digest);
        assert_eq!(next.parent.unwrap().run, newest.run_id);
        let (name, rounds) = (plan.name.clone(), plan.rounds);
        assert_eq!(Plan { name, rounds, parent: None, format: None, ..next }, plan);

        let none = going_on(&plan, &newest, 0, "none".into()).unwrap_err().to_string();
        assert!(none.contains("rounds"), "{none}");
    }

    #[test]
    fn a_chain_of_extensions_reaches_the_most_rounds_that_a_policy_allows() {
        let policy =
            Policy { rounds_max: Some(40), epsilon_max: 100.0, delta_max: 1e-5, ..Policy::for_authors([]) };
        let mut plan = Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap();
        plan.rounds = 10;
        let mut checked = vec![policy.check_unsigned(&plan)];
        for number in 1..=4 {
            // Each runs to its end.
            plan = going_on(&plan, &checkpoint::samples::bare(10), 10, format!("again-{number}")).unwrap();
            checked.push(policy.check_unsigned(&plan));
        }
        assert_eq!(checked[..4], [const { Ok(()) }; 4]);
        assert_eq!(checked[4], Err(Refusal::Rounds { plan: 50, policy: 40 }));
    }

    #[test]
    fn two_runs_that_go_on_from_one_have_two_names() {
        let taken = ["wards", "wards-from-12", "wards-from-12-2"].map(str::to_owned);
        assert_eq!(new_name("wards-from-12", &taken[..1]), "wards-from-12");
        assert_eq!(new_name("wards-from-12", &taken[..2]), "wards-from-12-2");
        assert_eq!(new_name("wards-from-12", &taken), "wards-from-12-3");
    }
}
