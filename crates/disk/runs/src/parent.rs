//! The model that a run goes on from, as another run of the federation has published it.

use checkpoint::{Action, MODEL_FILE, ModelError, folder_name};
use identity::with_causes;
use params::{Digest, Params};
use plan::{PLAN_FILE, ParentModel, Plan, Refusal};
use published::{CheckpointFault, Records, read_record};
use store::Published;

use crate::folders::{FIRST, RunFolders, RunFoldersError};

/// Why a plan cannot go on from the model that it names.
#[derive(Debug, thiserror::Error)]
pub enum ParentError {
    /// No run of this federation has that name.
    #[error("the plan goes on from run {}, which is none of this federation; `folkmoot runs list` shows those", .0.short())]
    NoRun(Digest),
    /// The run has not published that round.
    #[error("the plan goes on from round {round} of run {}, which that run has not published", run.short())]
    NoRound { run: Digest, round: u64 },
    /// It has published another model there.
    #[error(
        "the plan goes on from model {} of round {round}, and that round published {}: have the plan signed with the model that it \
         means", named.short(), published.short()
    )]
    AnotherModel {
        round: u64,
        /// By the plan.
        named: Digest,
        /// By the run.
        published: Digest,
    },
    /// The model is not for use.
    #[error("the plan goes on from the model of round {round}, which is out of use: {why}")]
    Quarantined {
        round: u64,
        /// By whom, and why.
        why: String,
    },
    /// Its file is no model of the plan's shape.
    #[error("the model that the plan goes on from is not of the plan's shape: {0}")]
    Shape(#[from] ModelError),
    /// The run's records are damaged.
    #[error("the run that the plan goes on from cannot be read: {}", with_causes(.0))]
    Unreadable(#[from] CheckpointFault),
    /// It counts fewer rounds before it than there were.
    #[error(transparent)]
    RoundsBefore(#[from] Refusal),
    /// The folders of runs cannot be read.
    #[error(transparent)]
    Folders(#[from] RunFoldersError),
}

impl RunFolders {
    /// The model that a plan goes on from, of the plan's shape; none where it names no parent. What the plan states of the rounds
    /// before is held against the parent's plan.
    ///
    /// # Errors
    /// [`ParentError`].
    pub fn parent_model(&self, plan: &Plan) -> Result<Option<Params>, ParentError> {
        let Some(parent) = plan.parent else { return Ok(None) };
        for number in std::iter::once(FIRST).chain(self.later()?) {
            let published = self.published(number);
            if is_run(&published, &parent.run)? {
                let path = self.folder(number).join(PLAN_FILE);
                let its_plan = self.plan(number)?.ok_or(RunFoldersError::NoPlan { path })?;
                plan.check_rounds_before(its_plan.rounds_before())?;
                return model_of(&published, plan, &parent).map(Some);
            }
        }
        Err(ParentError::NoRun(parent.run))
    }
}

fn is_run(published: &Published, run: &Digest) -> Result<bool, CheckpointFault> {
    let Some((_, first)) = Records::new(0, 0).next(published)? else { return Ok(false) };
    Ok(first.verify_strict().is_ok_and(|manifest| manifest.run_id == *run))
}

fn model_of(published: &Published, plan: &Plan, parent: &ParentModel) -> Result<Params, ParentError> {
    let round = parent.round;
    let record = read_record(published, &folder_name(round))?;
    // What was verified when it was published is damaged, where it does not verify.
    let manifest = record.and_then(|signed| signed.verify_strict().ok());
    let manifest = manifest.ok_or(ParentError::NoRound { run: parent.run, round })?;
    let model = manifest.model.params_digest;
    if model != parent.model {
        return Err(ParentError::AnotherModel { round, named: parent.model, published: model });
    }
    let newest = published.names().map_err(CheckpointFault::from)?;
    let newest = newest.iter().filter_map(|name| name.parse().ok()).max().unwrap_or(round);
    let mut later = Records::new(round, newest);
    while let Some((_, signed)) = later.next(published)? {
        let action = signed.verify_strict().ok().and_then(|manifest| manifest.action);
        if let Some(action @ Action::Quarantine { model: taken, .. }) = &action
            && *taken == model
        {
            return Err(ParentError::Quarantined { round, why: action.to_string() });
        }
    }
    let name = folder_name(round);
    let file = published.read(&name, MODEL_FILE).map_err(CheckpointFault::from)?;
    let params = checkpoint::read_model(&file, &plan.architecture().layout())?;
    // A damaged file that still reads.
    if params.digest() != model {
        return Err(ParentError::AnotherModel { round, named: model, published: params.digest() });
    }
    Ok(params)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use identity::IdentityKey;
    use published::samples;

    use super::*;

    /// A plan of the sample's shape that goes on from what its run published in round 3.
    fn plan(published: &Published, edit: impl Fn(&mut ParentModel)) -> Plan {
        let mut plan = Plan::from_toml(include_str!("../../../../deploy/config/plan.toml")).unwrap();
        plan.data.features.truncate(2);
        (plan.data.classes, plan.model.hidden) = (3.into(), vec![]);
        let signed = read_record(published, &folder_name(3)).unwrap().unwrap();
        let manifest = signed.verify_strict().unwrap();
        let mut parent = ParentModel {
            run: manifest.run_id,
            round: 3,
            model: manifest.model.params_digest,
            rounds_before: 0,
        };
        edit(&mut parent);
        plan.parent = Some(parent);
        plan
    }

    /// The first run's folder, whose own plan had so many rounds before it.
    fn folders(folder: &Path, rounds_before: u64) -> RunFolders {
        let folders = RunFolders::new(folder, None);
        let text = include_str!("../../../../deploy/config/plan.toml");
        let [run, model] = [b"run", b"old"].map(|text| Digest::sha256(text));
        let parent = rounds_before.checked_sub(1).map(|before| ParentModel {
            run,
            round: 1,
            model,
            rounds_before: before,
        });
        let plan = Plan { parent, ..Plan::from_toml(text).unwrap() }.numbered([1; Plan::ID_BYTES]);
        let author = IdentityKey::from_secret_hex(&hex::encode([1; 32])).unwrap();
        folders.keep_plan(FIRST, plan.sign(&author).signed()).unwrap();
        folders
    }

    #[test]
    fn a_plan_that_counts_fewer_rounds_before_it_than_its_parents_plan_is_refused_with_the_number() {
        let folder = samples::chain(|_| {});
        let folders = folders(folder.path(), 40);
        let published = folders.published(FIRST);
        let counting =
            |before| folders.parent_model(&plan(&published, |parent| parent.rounds_before = before));
        assert!(counting(40).unwrap().is_some() && counting(41).unwrap().is_some());
        for stated in [0, 39] {
            let refused = counting(stated).unwrap_err();
            let least = Refusal::RoundsBefore { stated, least: 40 };
            assert!(matches!(&refused, ParentError::RoundsBefore(refusal) if *refusal == least), "{refused}");
            assert!(refused.to_string().contains("rounds_before = 40"), "{refused}");
        }
    }

    #[test]
    fn a_run_begins_with_what_another_run_published_and_with_nothing_else() {
        let folder = samples::chain(|_| {});
        let folders = folders(folder.path(), 0);
        let published = folders.published(FIRST);
        let asked = plan(&published, |_| {});
        assert_eq!(folders.parent_model(&asked).unwrap().unwrap().digest(), asked.starts_from());
        assert_eq!(folders.parent_model(&Plan { parent: None, ..asked.clone() }).unwrap(), None);

        let refused = |edit: &dyn Fn(&mut ParentModel)| {
            folders.parent_model(&plan(&published, edit)).unwrap_err().to_string()
        };
        assert!(refused(&|parent| parent.run = Digest::sha256(b"?")).contains("none of this federation"));
        assert!(refused(&|parent| parent.round = 2).contains("has not published"));
        assert!(refused(&|parent| parent.model = Digest::sha256(b"?")).contains("that round published"));
        let mut wide = asked;
        wide.data.classes = 4.into();
        assert!(folders.parent_model(&wide).unwrap_err().to_string().contains("not of the plan's shape"));
    }

    #[test]
    fn a_quarantined_model_is_not_gone_on_from() {
        let first = samples::chain(|_| {});
        let published = RunFolders::new(first.path(), None).published(FIRST);
        let model = read_record(&published, &folder_name(1)).unwrap().unwrap().verify_strict().unwrap();
        let model = model.model.params_digest;
        let folder = samples::chain(|manifest| {
            if manifest.round == 3 {
                for silos in [&mut manifest.cohort, &mut manifest.shared, &mut manifest.included] {
                    silos.clear();
                }
                let (reason, by) = ("poisoned".to_owned(), "olga".to_owned());
                manifest.action = Some(Action::Quarantine { round: 1, model, reason, by });
            }
        });
        let folders = folders(folder.path(), 0);
        let asked = plan(&folders.published(FIRST), |parent| (parent.round, parent.model) = (1, model));
        let refused = folders.parent_model(&asked).unwrap_err().to_string();
        assert!(refused.contains("out of use") && refused.contains("poisoned"), "{refused}");
    }
}
