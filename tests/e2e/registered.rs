//! Silos that write their files in ways of their own, each with a registration.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::kills::plan_anew;
use super::privacy::{json, run_again};
use super::{assert_refused, demo, folkmoot, text};

/// From a plain file's rows and the names of its features: a file and its registration.
type Way = fn(&[Vec<&str>], &[&str]) -> (String, String);

/// Semicolons, decimal commas, other names, half the unit, and classes counted from 1.
fn with_semicolons(rows: &[Vec<&str>], names: &[&str]) -> (String, String) {
    let named = |name: &str| format!("{} (half)", name.to_uppercase());
    let mut header: Vec<String> = names.iter().map(|name| named(name)).collect();
    header.push("Class".into());
    let mut file = header.join(";") + "\n";
    for row in rows {
        let (label, pixels) = row.split_last().unwrap();
        for pixel in pixels {
            let half = pixel.parse::<f64>().unwrap() / 2.0;
            write!(file, "\"{}\";", half.to_string().replace('.', ",")).unwrap();
        }
        writeln!(file, "{}", label.parse::<u8>().unwrap() + 1).unwrap();
    }
    let mut registration =
        "format = 1\n[dialect]\nseparator = \";\"\ndecimal = \",\"\n[columns]\n".to_owned();
    for name in names {
        writeln!(registration, "{name} = {{ from = \"{}\", type = \"number\", times = 2 }}", named(name))
            .unwrap();
    }
    registration.push_str("label = { from = \"Class\", type = \"label\", classes = 10, plus = -1 }\n");
    (file, registration)
}

/// No header, a line that is no record, a column that nobody knows, and classes by words.
fn without_a_header(rows: &[Vec<&str>], names: &[&str]) -> (String, String) {
    const WORDS: [&str; 10] =
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    let mut file = "# of scanner 4\n".to_owned();
    for row in rows {
        let (label, pixels) = row.split_last().unwrap();
        writeln!(file, "?, {}, {}", WORDS[label.parse::<usize>().unwrap()], pixels.join(", ")).unwrap();
    }
    let positions = [&["scanner", "label"], names].concat();
    let mut registration = format!(
        "format = 1\n[dialect]\nheader = false\ncomment = \"#\"\nmissing = [\"?\"]\ncolumns = {positions:?}\n[columns]\n"
    );
    for name in names {
        writeln!(registration, "{name} = {{ type = \"number\" }}").unwrap();
    }
    let classes: Vec<String> =
        WORDS.iter().enumerate().map(|(class, word)| format!("{word} = {class}")).collect();
    writeln!(
        registration,
        "label = {{ type = \"label\", classes = 10, values = {{ {} }} }}",
        classes.join(", ")
    )
    .unwrap();
    (file, registration)
}

/// The silo's plain file in another way, with its registration beside it.
fn write_anew(silo: &Path, way: Way) {
    let plain = fs::read_to_string(silo.join("silo.csv")).unwrap();
    let mut lines = plain.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let Some((&"label", names)) = header.split_last() else { panic!("{header:?}") };
    let (file, registration) = way(&lines.collect::<Vec<_>>(), names);
    fs::write(silo.join("silo.csv"), file).unwrap();
    fs::write(silo.join("silo.toml"), registration).unwrap();
}

/// What the run's silos had for tables, by their ledgers, and what the first model came to on them.
fn tables(folder: &Path, state: &str) -> (Vec<Value>, Vec<f64>) {
    let version = |silo: u32| {
        let ledger = folder.join(format!("silo-{silo}/{state}/ledger"));
        json(&["ledger", "show", text(&ledger)])["runs"][0]["data_versions"].clone()
    };
    let manifests = published::verify_folder(&folder.join("coordinator"), None).unwrap().manifests;
    assert_eq!(manifests.len(), 3, "the first model and two rounds");
    let metrics = ["training_loss", "training_accuracy"].map(|name| manifests[1].metrics[name]);
    ((1..=3).map(version).collect(), metrics.to_vec())
}

#[test]
fn silos_that_write_their_files_differently_are_in_a_run_with_the_tables_that_plain_files_are() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    demo(folder, &["--clients", "3", "--rounds", "2", "--keep", "--privacy", "none"]);
    let plain = tables(folder, "state");
    assert!(
        plain.0.iter().all(|versions| versions.as_array().is_some_and(|all| all.len() == 1)),
        "{plain:?}"
    );
    write_anew(&folder.join("silo-1"), with_semicolons);
    write_anew(&folder.join("silo-2"), without_a_header);
    run_again(folder, 3, |silo, config| match silo {
        3 => config.to_owned(),
        _ => config.replace("state_dir", "registration = \"silo.toml\"\nstate_dir"),
    });
    assert_eq!(tables(folder, "fresh"), plain);

    // What `--check` says of the same files, and of others.
    let (config, silo) = (folder.join("silo-1/client.toml"), folder.join("silo-1"));
    let check = || folkmoot(&["client", "--config", text(&config), "--check"]);
    let said = String::from_utf8(check().stdout).unwrap();
    assert!(said.contains("silo.toml\ndata: ") && said.contains(" rows\n"), "{said}");
    let change = |name: &str, from: &str, to: &str| {
        let text = fs::read_to_string(silo.join(name)).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(silo.join(name), text.replacen(from, to, 1)).unwrap();
    };
    change("silo.csv", "\"", "\"x");
    let said = String::from_utf8(check().stdout).unwrap();
    assert!(said.contains("1 rows: is no number in the registered spelling in column pixel_"), "{said}");
    change("silo.toml", "(half)", "(HALF)");
    assert_refused(&check(), 2, &["data: silo.csv: ", " (HALF), which is registered"]);
    change("silo.toml", "times = 2", "times = 0");
    assert_refused(&check(), 2, &["registration: ", "silo.toml", "`times` is 0"]);
}

#[test]
fn a_run_about_persons_hides_them_with_all_their_rows_in_records_and_ledgers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    demo(folder, &["--clients", "3", "--rounds", "2", "--keep"]);
    plan_anew(
        folder,
        &[("format = 2\n", "format = 3\n"), ("\nsampling_rate", "\nunit = \"person\"\nsampling_rate")],
    );
    for silo in 1..=3 {
        // Four rows are one person's, and every fiftieth is nobody's.
        write_anew(&folder.join(format!("silo-{silo}")), |rows, names| {
            let mut file = names.join(",") + ",label,Pat.\n";
            for (number, row) in rows.iter().enumerate() {
                let owner = if number % 50 == 0 { String::new() } else { format!("{}.0", number / 4) };
                writeln!(file, "{},{owner}", row.join(",")).unwrap();
            }
            let mut registration = "format = 1\n[columns]\n".to_owned();
            for name in names {
                writeln!(registration, "{name} = {{ type = \"number\" }}").unwrap();
            }
            registration.push_str(
                "label = { type = \"label\", classes = 10 }\npatient = { from = \"Pat.\", type = \"person\" }\n",
            );
            (file, registration)
        });
    }
    run_again(folder, 3, |_, config| config.replace("state_dir", "registration = \"silo.toml\"\nstate_dir"));
    let manifests = published::verify_folder(&folder.join("coordinator"), None).unwrap().manifests;
    assert_eq!(manifests.len(), 3, "the first model and two rounds");
    for manifest in &manifests {
        assert_eq!(manifest.privacy.unit, "person");
        assert_eq!(manifest.privacy.relation, "add or remove all records of one person");
    }
    let config = folder.join("silo-1/client.toml");
    let shown = folkmoot(&["ledger", "show", text(&folder.join("silo-1/fresh/ledger"))]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains(" for one person, with all their rows in a silo, by "), "{shown}");
    let said = folkmoot(&["client", "alarms", "--config", text(&config)]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("rows: nothing says whose they are"), "{said}");
}
