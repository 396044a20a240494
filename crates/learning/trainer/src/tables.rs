//! The silo's table: read once for a plan, and held until another plan wants its own.
//!
//! # Privacy
//! In a mode that promises something about records nothing is an error that a row could cause: what does not fit the plan
//! contributes nothing, and the operator hears of it. What the file becomes during a run is seen by nobody but the operator.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use datasets::{Dataset, DatasetError, Survey};
use params::Digest;
use plan::{Plan, Sampled, Schema};
use registration::Registration;

/// So many standard deviations above its mean a batch is as good as never.
const LIKELY_DEVIATIONS: f64 = 6.0;

/// See the module.
pub(crate) struct Tables {
    path: PathBuf,
    /// How the files are written and what their columns mean; without one, as in plain files.
    registration: Option<Registration>,
    held: Option<Held>,
}

struct Held {
    plan: Digest,
    table: Table,
    files: Files,
    change_reported: bool,
}

/// A table, and what its operator should hear of it.
#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) data: Arc<Dataset>,
    /// What contributes nothing.
    pub(crate) misfits: Option<String>,
    /// What may not be what was meant.
    pub(crate) remarks: Option<String>,
    /// Whether no row of it contributes.
    pub(crate) empty: bool,
    /// The files are others than those that were read: said once.
    pub(crate) changed: bool,
}

/// By what a change of files is noticed without reading them: names, lengths, and when they were written.
type Files = Vec<(PathBuf, u64, Option<SystemTime>)>;

impl Tables {
    pub(crate) fn new(path: &Path, registration: Option<Registration>) -> Self {
        Self { path: path.to_owned(), registration, held: None }
    }

    /// What the operator should know of the files before any plan is seen, a line each.
    ///
    /// # Errors
    /// What keeps them from being used under any plan, in words.
    pub(crate) fn survey(&self, schema: Option<&Schema>) -> Result<Vec<String>, String> {
        let survey =
            Survey::of(&self.path, self.registration.as_ref(), schema).map_err(|why| why.to_string())?;
        match survey.is_empty() {
            true => Err(format!("no row of the files can be used: {}", survey.lines().join("; "))),
            false => Ok(survey.lines()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The plan's table, as it was read first in this process.
    ///
    /// # Errors
    /// [`DatasetError`]; it is then read anew the next time. In a mode that promises something, that of too many rows alone: of such
    /// a table nothing may be used.
    pub(crate) fn read(&mut self, plan: &Plan) -> Result<Table, DatasetError> {
        let (digest, files) = (plan.digest(), files(&self.path));
        if let Some(held) = self.held.as_mut().filter(|held| held.plan == digest) {
            let changed = held.files != files && !std::mem::replace(&mut held.change_reported, true);
            return Ok(Table { changed, ..held.table.clone() });
        }
        // One table at a time is in memory.
        self.held = None;
        let registration = self.registration.as_ref();
        let (data, misfits) = if plan.promises() {
            read_leniently(&self.path, registration, plan)?
        } else {
            (Dataset::load(&self.path, registration, &plan.data)?, None)
        };
        let remarks = remarks(plan, &data);
        let empty = contributing(plan, &data) == 0;
        let table = Table { data: Arc::new(data), misfits, remarks, empty, changed: false };
        self.held = Some(Held { plan: digest, table: table.clone(), files, change_reported: false });
        Ok(table)
    }
}

/// What may not be what was meant, of the table and of the plan's room for it.
pub(crate) fn remarks(plan: &Plan, data: &Dataset) -> Option<String> {
    let of_table = Some(data.remarks()).filter(|remarks| !remarks.is_empty()).map(ToString::to_string);
    let of_plan =
        [beyond_room(plan, data), of_one_row(plan, data), of_one_person(plan, data), unused(plan, data)]
            .into_iter()
            .flatten();
    let said: Vec<String> = of_table.into_iter().chain(of_plan).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

/// The files' table, in which what does not fit the plan contributes nothing, and what that is.
///
/// Where the plan's promise is about persons, neither do rows of nobody. Where nothing says whose a row is, all are nobody's; a row is
/// never taken for a person.
pub(crate) fn read_leniently(
    path: &Path,
    registration: Option<&Registration>,
    plan: &Plan,
) -> Result<(Dataset, Option<String>), DatasetError> {
    let (data, misfits) = Dataset::load_leniently(path, registration, &plan.data)?;
    let mut said: Vec<String> = (!misfits.is_empty()).then(|| misfits.to_string()).into_iter().collect();
    let by_person = matches!(plan.sampled(), Some(Sampled::Person { .. }));
    let data = match data.persons().map(|persons| data.rows() - persons.rows_of_all()) {
        Some(nobodys @ 1..) if by_person => {
            said.push(format!(
                "{nobodys} rows: nothing says whose they are, and the plan's promise is about persons"
            ));
            data
        }
        None if by_person => {
            said.push(
                "no row says whose it is, and the plan's promise is about persons: register the column that does with type = \"person\""
                    .into(),
            );
            Dataset::empty(&plan.data)
        }
        _ => data,
    };
    Ok((data, (!said.is_empty()).then(|| said.join("; "))))
}

/// How many rows contribute: those that fit, and where persons are the unit are somebody's.
pub(crate) fn contributing(plan: &Plan, data: &Dataset) -> usize {
    match (plan.sampled(), data.persons()) {
        (Some(Sampled::Person { rows_max }), Some(persons)) => {
            (0..persons.len()).map(|person| data.rows_of_person(person, rows_max).count()).sum()
        }
        _ => (0..data.rows()).filter(|row| data.fits(*row)).count(),
    }
}

/// Whether persons have several rows, and the promise is about one.
fn of_one_row(plan: &Plan, data: &Dataset) -> Option<String> {
    let persons = data.persons().filter(|persons| persons.rows_max() > 1)?;
    if plan.sampled() != Some(Sampled::Record) {
        return None;
    }
    Some(format!(
        "the plan's promise is about one row, and {} rows are of {} persons, one of whom has {}: a person with several is hidden less; ask \
         its author for unit = \"person\", or set require_person_unit in this silo's policy",
        persons.rows_of_all(),
        persons.len(),
        persons.rows_max()
    ))
}

/// Whether one person's rows make up a batch of their own. They are trained on together or not at all, so that a round in which that person
/// is drawn takes more than twice as long as others, and one that takes too long has nothing of anybody's.
fn of_one_person(plan: &Plan, data: &Dataset) -> Option<String> {
    let sampling = plan.privacy.promise()?.sampling()?;
    let (Sampled::Person { rows_max }, persons) = (sampling.unit, data.persons()?) else { return None };
    let (most, mean) = (persons.rows_max().min(rows_max), persons.rows_of_all() as f64 * sampling.rate);
    // A batch takes the time of a micro-batch at the least.
    (most > plan.training.micro_batch && most as f64 > mean).then(|| {
        format!(
            "one person has {most} rows that are used, and a batch about {mean:.0} of all persons: a round in which that person is drawn takes so much \
             longer, and where it takes longer than the plan gives, no person's data is in it; ask its author for a larger \
             ready_after_ms, and set ready_after_ms_min in this silo's policy"
        )
    })
}

/// Whether persons have more rows than the plan uses of one.
fn unused(plan: &Plan, data: &Dataset) -> Option<String> {
    let (Some(Sampled::Person { rows_max }), Some(persons)) = (plan.sampled(), data.persons()) else {
        return None;
    };
    let more = (0..persons.len()).filter(|person| persons.rows(*person).nth(rows_max).is_some()).count();
    (more > 0).then(|| {
        format!("{more} persons have more than {rows_max} rows, of whom the plan uses the first {rows_max} that fit (rows_max in its unit)")
    })
}

/// Whether batches may have more rows than the integers of their sums have room for.
fn beyond_room(plan: &Plan, data: &Dataset) -> Option<String> {
    let sampling = plan.privacy.promise()?.sampling()?;
    let (units, word) = match sampling.unit {
        Sampled::Record => (data.rows(), "rows"),
        Sampled::Person { .. } => (data.persons()?.len(), "persons"),
    };
    let mean = units as f64 * sampling.rate;
    // A batch is larger once in a thousand million.
    let likely = mean + LIKELY_DEVIATIONS * (mean * (1.0 - sampling.rate)).sqrt();
    (likely > sampling.rows_max as f64).then(|| {
        format!(
            "of {units} {word} about {mean:.0} are in a batch, and up to {likely:.0} by chance, where the plan has room for {}: sums of \
             more wrap, and the model is wrong; ask its author for a larger batch_rows_max or a smaller sampling_rate",
            sampling.rows_max
        )
    })
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

    #[test]
    fn a_table_is_read_once_for_a_plan_and_what_the_file_becomes_is_said_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silo.csv");
        std::fs::write(&path, "label,a,b,c\n0,0.1,0.2,0.3\n").unwrap();
        let mut tables = Tables::new(&path, None);
        let plan = sim::plan(3, 2);
        let first = tables.read(&plan).unwrap();
        assert!(!first.changed && first.misfits.is_none());
        std::fs::write(&path, "label,a,b,c\n1,0.1,0.2,0.3\n0,0.2,0.2,0.2\n").unwrap();
        for said in [true, false] {
            let again = tables.read(&plan).unwrap();
            assert_eq!((again.data.version(), again.changed), (first.data.version(), said));
        }
        let other = tables.read(&sim::plan(3, 3)).unwrap();
        assert_ne!(other.data.version(), first.data.version());
        assert!(!other.changed);
        let fresh = Tables::new(&path, None).read(&plan).unwrap();
        assert_eq!(fresh.data.version(), other.data.version(), "after a restart");
    }

    #[test]
    fn what_may_not_be_meant_is_said_in_every_mode_and_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silo.csv");
        std::fs::write(&path, "label,a,b,c\n0,0.1,9e9,0.3\n,,,\n1,0.1,0.2,0.3\n").unwrap();
        let said = |plan: &Plan| Tables::new(&path, None).read(plan).unwrap().remarks.unwrap();
        let (exact, private) = (said(&sim::plan(3, 2)), said(&sim::private_plan(3, 2, 5.0)));
        assert!(exact.contains("1 of 2 cells in column b lie outside"), "{exact}");
        assert!(exact.contains("1 records in which nothing stands were passed over"), "{exact}");
        assert!(private.contains("1 of 2 cells in column b lie outside"), "{private}");
        assert!(!private.contains("nothing stands"), "it has its place: {private}");
    }

    #[test]
    fn a_table_whose_batches_outgrow_the_plans_integers_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silo.csv");
        let mut plan = sim::private_plan(3, 2, 5.0);
        let sampling = plan.privacy.promise_mut().unwrap().sampling_mut().unwrap();
        (sampling.rate, sampling.rows_max) = (0.5, 64);
        let said = |rows: usize| {
            let rows = "0,0.1,0.2,0.3\n".repeat(rows);
            std::fs::write(&path, format!("label,a,b,c\n{rows}")).unwrap();
            Tables::new(&path, None).read(&plan).unwrap().remarks
        };
        assert_eq!(said(70), None);
        let beyond = said(128).unwrap();
        assert!(
            beyond.starts_with(
                "of 128 rows about 64 are in a batch, and up to 98 by chance, where the plan has room for 64"
            ),
            "{beyond}"
        );
    }

    #[test]
    fn a_person_whose_rows_make_up_a_batch_is_said_where_persons_are_the_unit() {
        let mut plan = sim::private_plan(3, 2, 5.0);
        let sampling = plan.privacy.promise_mut().unwrap().sampling_mut().unwrap();
        (sampling.rate, sampling.unit) = (0.5, Sampled::Person { rows_max: 1 << 20 });
        let said = |plan: &Plan, rows_of_one: usize, others: usize| {
            let rows = "0,0.1,0.2,0.3\n".repeat(rows_of_one + others);
            let text = format!("label,a,b,c\n{rows}");
            let data = Dataset::from_csv("silo.csv", text.as_bytes(), &plan.data).unwrap();
            let names: Vec<String> =
                (0..rows_of_one + others).map(|row| row.saturating_sub(rows_of_one).to_string()).collect();
            let names: Vec<Option<&str>> = names.iter().map(|name| Some(name.as_str())).collect();
            remarks(plan, &data.of_persons(&names).unwrap())
        };
        let few = plan.training.micro_batch;
        assert_eq!(said(&plan, few - 1, 3), None, "a micro-batch is computed whole in any case");
        let remark = said(&plan, few + 3, 3).unwrap();
        assert!(remark.starts_with(&format!("one person has {} rows that are used", few + 4)), "{remark}");
        assert_eq!(said(&plan, few + 3, 2 * few), None);
        plan.privacy.promise_mut().unwrap().sampling_mut().unwrap().unit = Sampled::Record;
        assert!(said(&plan, few + 3, 3).unwrap().starts_with("the plan's promise is about one row"));
    }

    #[test]
    fn where_persons_are_the_unit_rows_of_nobody_contribute_nothing_and_are_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silo.csv");
        let rows = "label,a,b,c,patient\n0,0.1,0.2,0.3,17\n1,0.1,0.2,0.3,17.0\n1,0.3,0.2,0.3,\n0,0.3,0.2,0.3,18\n9,0,0,0,19\n";
        std::fs::write(&path, rows).unwrap();
        let mut plan = sim::private_plan(3, 2, 5.0);
        let unit = |plan: &mut Plan, unit| {
            plan.privacy.promise_mut().unwrap().sampling_mut().unwrap().unit = unit;
        };
        let registered = |person: &str| {
            let number = |word: &str| format!("{word} = {{ type = \"number\" }}\n");
            let text = format!(
                "format = 1\n[columns]\nlabel = {{ type = \"label\", classes = 3 }}\n{}{person}",
                ["a", "b", "c"].map(number).concat()
            );
            Some(Registration::from_toml(&text).unwrap())
        };
        let named = || registered("whose = { from = \"patient\", type = \"person\" }\n");
        let read = |plan: &Plan, registration| Tables::new(&path, registration).read(plan).unwrap();

        let by_row = read(&plan, named());
        let remarks = by_row.remarks.unwrap();
        assert!(remarks.contains("4 rows are of 3 persons, one of whom has 2"), "{remarks}");
        assert_eq!(read(&plan, registered("")).remarks, None, "nothing is known of persons");
        unit(&mut plan, Sampled::PERSON);
        let by_person = read(&plan, named());
        let persons = by_person.data.persons().unwrap();
        let rows = |person| persons.rows(person).collect::<Vec<_>>();
        assert_eq!([rows(0), rows(1), rows(2)], [vec![0, 1], vec![3], vec![4]]);
        let misfits = by_person.misfits.unwrap();
        assert!(
            misfits.ends_with("1 rows: nothing says whose they are, and the plan's promise is about persons"),
            "{misfits}"
        );
        assert!(!by_person.empty && by_person.remarks.is_none());
        assert_ne!(by_person.data.version(), read(&plan, registered("")).data.version());

        // Without a column that says whose they are, nothing is anybody's, and a row is never taken for a person.
        for registration in [registered(""), None] {
            let nobodys = read(&plan, registration);
            assert!(nobodys.empty && nobodys.data.persons().unwrap().is_empty());
            assert!(
                nobodys.misfits.unwrap().contains("register the column that does with type = \"person\"")
            );
        }
        std::fs::write(&path, "label,a,b,c,patient\n0,0.1,0.2,0.3,\n9,0,0,0,19\n").unwrap();
        assert!(read(&plan, named()).empty, "the row that fits is nobody's, and the other is somebody's");
    }

    #[test]
    fn what_is_wrong_with_data_is_an_error_only_where_nothing_is_promised_about_records() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silo.csv");
        std::fs::write(&path, "label,a,b,c\n9,0.1,0.2,0.3\n0,0.1,0.2,0.3\n").unwrap();
        let mut tables = Tables::new(&path, None);
        assert!(tables.read(&sim::plan(3, 2)).is_err());
        let private = sim::private_plan(3, 2, 5.0);
        let read = tables.read(&private).unwrap();
        assert_eq!((read.data.rows(), read.data.fits(0), read.data.fits(1)), (2, false, true));
        let misfits = read.misfits.unwrap();
        assert!(
            misfits.contains("1 rows: no class of the plan in column label") && !misfits.contains('9'),
            "{misfits}"
        );
        assert!(!read.empty);
        std::fs::write(&path, "label,a,b,c\n9,0.1,0.2,0.3\n").unwrap();
        assert!(Tables::new(&path, None).read(&private).unwrap().empty, "no row of it fits");
        std::fs::remove_file(&path).unwrap();
        let read = Tables::new(&path, None).read(&private).unwrap();
        assert!(read.empty && read.data.rows() == 0 && read.misfits.is_some());
    }
}
