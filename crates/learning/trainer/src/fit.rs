//! How a silo's files fit a plan: what its trainer would find, for an operator who asks before any run.

use std::io;
use std::path::{Path, PathBuf};

use datasets::DatasetError;
use plan::{Plan, Problem, Problems, Refusal};
use registration::Registration;

use crate::tables::{contributing, read_leniently, remarks};

/// Why nothing of the files can be used for the plan.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The registration's file cannot be read.
    #[error("`{}`: cannot be read: {why}", file.display())]
    Unreadable { file: PathBuf, why: io::Error },
    /// The registration cannot be meant.
    #[error("`{}`: cannot be used:\n{why}", file.display())]
    Registration { file: PathBuf, why: Problems },
    /// It has no label.
    #[error("the registration's {0}")]
    Label(#[from] Problem),
    /// The plan asks for what is not registered.
    #[error("the plan does not fit the registration: {0}")]
    Plan(#[from] Refusal),
    /// A file that cannot be read, or lacks a column; a table with too many rows.
    #[error(transparent)]
    Data(#[from] DatasetError),
    /// All rows contribute nothing.
    #[error("no row of the files fits the plan: {0}")]
    NoRow(String),
}

/// What the operator should know of files under this plan, a line each: how many rows, which contribute nothing, which cells lie outside
/// their ranges, files that are there twice, and whether a round's sums have room. They are read as a trainer reads them, by this registration where
/// there is one.
///
/// # Errors
/// [`FitError`]
pub fn fit(plan: &Plan, data: &Path, registration: Option<&Path>) -> Result<Vec<String>, FitError> {
    let registration = registration.map(read).transpose()?;
    if let Some(registration) = &registration {
        registration.schema()?.check_plan(plan)?;
    }
    let (table, misfits) = read_leniently(data, registration.as_ref(), plan)?;
    let contributing = contributing(plan, &table);
    if contributing == 0 {
        return Err(FitError::NoRow(misfits.unwrap_or_else(|| "there is none".into())));
    }
    let mut lines = vec![format!("{contributing} of {} rows contribute", table.rows())];
    if let Some(misfits) = misfits {
        lines.push(misfits);
        if !plan.promises() {
            lines.push(
                "in the plan's mode a silo with any of that sits out: correct it before the run".into(),
            );
        }
    }
    lines.extend(remarks(plan, &table));
    Ok(lines)
}

fn read(file: &Path) -> Result<Registration, FitError> {
    let text =
        std::fs::read_to_string(file).map_err(|why| FitError::Unreadable { file: file.to_owned(), why })?;
    Registration::from_toml(&text).map_err(|why| FitError::Registration { file: file.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use plan::Sampled;

    use super::*;

    const REGISTRATION: &str = "format = 1\n[dialect]\nseparator = \";\"\n[columns]\nlabel = { type = \"label\", classes = 2 }\n\
                                a = { type = \"number\" }\nb = { from = \"B\", type = \"number\" }\nc = { type = \"number\" }\n";

    #[test]
    fn an_operator_hears_of_files_under_a_plan_what_its_trainer_would_say() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("silo.csv"), "label;a;B;c\n0;0.1;0.2;9e9\n1;x;0.2;0.3\n").unwrap();
        std::fs::write(at("silo.toml"), REGISTRATION).unwrap();
        let fitted = |plan: &Plan| fit(plan, &at("silo.csv"), Some(&at("silo.toml")));
        let lines = fitted(&sim::private_plan(3, 2, 5.0)).unwrap();
        let [rows, misfits, remarks] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(rows, "1 of 2 rows contribute");
        assert!(
            misfits.starts_with("1 rows: is no number in the registered spelling in column a"),
            "{misfits}"
        );
        assert!(remarks.starts_with("1 of 1 cells in column c lie outside"), "{remarks}");
        assert!(fitted(&sim::plan(3, 2)).unwrap()[2].contains("sits out"));

        std::fs::write(at("silo.toml"), REGISTRATION.replace("b = {", "d = {")).unwrap();
        let why = fitted(&sim::plan(3, 2)).unwrap_err().to_string();
        assert!(
            why.starts_with("the plan does not fit the registration: ") && why.contains("\"b\""),
            "{why}"
        );
        let mut persons = sim::private_plan(3, 2, 5.0);
        persons.privacy.promise_mut().unwrap().sampling_mut().unwrap().unit = Sampled::PERSON;
        std::fs::write(at("silo.toml"), REGISTRATION).unwrap();
        let why = fitted(&persons).unwrap_err().to_string();
        assert!(why.contains("no column of this silo's schema says whose a row is"), "{why}");
        let named = format!("{REGISTRATION}whose = {{ from = \"d\", type = \"person\" }}\n");
        std::fs::write(at("silo.toml"), named).unwrap();
        std::fs::write(at("silo.csv"), "label;a;B;c;d\n0;0.1;0.2;0.3;7\n1;0.1;0.2;0.3;\n").unwrap();
        let lines = fitted(&persons).unwrap();
        assert_eq!(lines[0], "1 of 2 rows contribute");
        assert!(lines[1].starts_with("1 rows: nothing says whose they are"), "{lines:?}");

        std::fs::write(at("silo.toml"), "format = 2\n").unwrap();
        assert!(fitted(&sim::plan(3, 2)).unwrap_err().to_string().contains("silo.toml`: cannot be used:\n"));
        let why = fit(&sim::plan(3, 2), &at("silo.csv"), None).unwrap_err().to_string();
        assert!(
            why.starts_with("no row of the files fits the plan: ") && why.contains("separated by"),
            "{why}"
        );
    }
}
