//! The silo's table: read once for a run, and held until another run wants its own.
//!
//! # Privacy
//! In a mode that promises something about records nothing is an error that a row could cause: what does not fit the plan
//! contributes nothing, and the operator hears of it. What the file becomes during a run is seen by nobody but the operator.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use alarms::{Alarm, Kind};
use datasets::{Dataset, DatasetError};
use params::Digest;
use plan::{AuthoredPlan, Plan};

/// Whether the plan's mode promises something about records or silos: then who takes part, and when, follows from no row.
pub(crate) fn promises(plan: &Plan) -> bool {
    plan.event().is_some()
}

/// See the module. Its clones hold one table.
#[derive(Clone)]
pub(crate) struct Tables {
    path: PathBuf,
    alarm: Alarm,
    held: Arc<Mutex<Option<Held>>>,
}

struct Held {
    run: Digest,
    plan: Digest,
    data: Arc<Dataset>,
    files: Files,
    change_reported: bool,
}

/// By what a change of files is noticed without reading them: names, lengths, and when they were written.
type Files = Vec<(PathBuf, u64, Option<SystemTime>)>;

impl Tables {
    pub(crate) fn new(path: PathBuf, alarm: Alarm) -> Self {
        Self { path, alarm, held: Arc::default() }
    }

    /// The run's table, as it was read first in this process; takes long.
    ///
    /// # Errors
    /// [`DatasetError`]; it is then read anew the next time. In a mode that promises something, that of too many rows alone: of such
    /// a table nothing may be used, and it is a training that failed.
    pub(crate) fn read(&self, run: Digest, plan: &AuthoredPlan) -> Result<Arc<Dataset>, DatasetError> {
        let files = files(&self.path);
        if let Some(data) = self.held(run, plan.digest(), &files) {
            return Ok(data);
        }
        let data = if promises(plan) {
            let (data, misfits) = Dataset::load_leniently(&self.path, &plan.data).inspect_err(|why| {
                let text = "the data cannot be used: nothing of it is contributed, in any round";
                self.alarm.raise(Kind::Data, &format!("{text}: {why}"), "");
            })?;
            if !misfits.is_empty() {
                let run = run.short();
                self.alarm.raise(
                    Kind::Data,
                    &format!("data that does not fit the plan of run {run} contributes nothing: {misfits}"),
                    "",
                );
            }
            data
        } else {
            Dataset::load(&self.path, &plan.data).inspect_err(|why| {
                let text = "the data cannot be used, and this silo sits out; the log says why";
                self.alarm.raise(Kind::Data, text, &why.to_string());
            })?
        };
        tracing::info!(version = data.version().short(), "data loaded");
        let data = Arc::new(data);
        let held = Held { run, plan: plan.digest(), data: Arc::clone(&data), files, change_reported: false };
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
        Ok(data)
    }

    fn held(&self, run: Digest, plan: Digest, files: &Files) -> Option<Arc<Dataset>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.as_mut().filter(|held| (held.run, held.plan) == (run, plan))?;
        if held.files != *files && !std::mem::replace(&mut held.change_reported, true) {
            let run = run.short();
            self.alarm.raise(
                Kind::Changed,
                &format!(
                    "the data changed since it was read for run {run}: the run goes on with what was read then, until this \
                     daemon starts anew; another run reads it anew"
                ),
                "",
            );
        }
        Some(Arc::clone(&held.data))
    }
}

/// What cannot be looked at is not there.
fn files(path: &Path) -> Files {
    let look = |path: PathBuf| {
        let found = std::fs::metadata(&path).ok()?;
        Some((path, found.len(), found.modified().ok()))
    };
    let mut files: Files = match std::fs::read_dir(path) {
        Ok(entries) => entries.filter_map(|entry| look(entry.ok()?.path())).collect(),
        Err(_) => look(path.to_owned()).into_iter().collect(),
    };
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(plan: Plan) -> AuthoredPlan {
        let key = identity::IdentityKey::from_secret_hex(&hex::encode([101; 32])).unwrap();
        plan.sign(&key)
    }

    #[test]
    fn a_table_is_read_once_for_a_run_and_what_the_file_becomes_is_reported_to_the_operator_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silo.csv");
        std::fs::write(&path, "label,a,b,c\n0,0.1,0.2,0.3\n").unwrap();
        let alarm = Alarm::new(folder.path(), || 0);
        let tables = Tables::new(path.clone(), alarm.clone());
        let (plan, run) = (signed(sim::plan(3, 2)), Digest::sha256(b"run"));
        let first = tables.read(run, &plan).unwrap().version();
        std::fs::write(&path, "label,a,b,c\n1,0.1,0.2,0.3\n0,0.2,0.2,0.2\n").unwrap();
        for _ in 0..2 {
            assert_eq!(tables.read(run, &plan).unwrap().version(), first);
        }
        assert!(alarm.lines()[0].contains("the data changed") && alarm.lines()[0].contains("(1 times"));
        let again = tables.read(Digest::sha256(b"other run"), &plan).unwrap().version();
        assert_ne!(again, first);
        assert_ne!(Tables::new(path, alarm).read(run, &plan).unwrap().version(), first, "after a restart");
    }

    #[test]
    fn what_is_wrong_with_data_is_an_error_only_where_nothing_is_promised_about_records() {
        let folder = tempfile::tempdir().unwrap();
        let (path, alarm) = (folder.path().join("silo.csv"), Alarm::new(folder.path(), || 0));
        std::fs::write(&path, "label,a,b,c\n9,0.1,0.2,0.3\n0,0.1,0.2,0.3\n").unwrap();
        let tables = Tables::new(path.clone(), alarm.clone());
        let run = Digest::sha256(b"run");
        let exact = signed(sim::plan(3, 2));
        assert!(tables.read(run, &exact).is_err());
        assert!(
            alarm.lines()[0].contains("sits out") && !alarm.lines()[0].contains('9'),
            "{:?}",
            alarm.lines()
        );
        std::fs::remove_file(folder.path().join("alarms.json")).unwrap();
        let private = signed(sim::private_plan(3, 2, 5.0));
        let data = tables.read(run, &private).unwrap();
        assert_eq!((data.rows(), data.fits(0), data.fits(1)), (2, false, true));
        let line = &alarm.lines()[0];
        assert!(
            line.contains("1 rows: no class of the plan in column label") && !line.contains('9'),
            "{line}"
        );
        std::fs::remove_file(&path).unwrap();
        assert_eq!(tables.read(Digest::sha256(b"other run"), &private).unwrap().rows(), 0);
    }
}
