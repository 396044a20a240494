//! The table of the examples: 1,797 handwritten digits of 8×8 pixels.
//!
//! Alpaydin & Kaynak 1998, *Optical Recognition of Handwritten Digits*, UCI Machine Learning Repository, CC BY 4.0.

use std::io::{self, Write};
use std::path::Path;

use plan::{Data, Feature};

/// The whole file: a header line, then the rows.
pub const CSV: &str = include_str!("../data/digits.csv");

const HELD_OUT_EVERY: usize = 5;
const SIDE: usize = 8;

/// The header line.
pub fn header() -> &'static str {
    CSV.split_once('\n').map_or(CSV, |(header, _)| header)
}

/// The rows for training: four of five.
pub fn training_rows() -> impl Iterator<Item = &'static str> {
    rows().enumerate().filter(|(index, _)| !held_out(*index)).map(|(_, row)| row)
}

/// The rows for testing: each fifth.
pub fn held_out_rows() -> impl Iterator<Item = &'static str> {
    rows().enumerate().filter(|(index, _)| held_out(*index)).map(|(_, row)| row)
}

/// The training rows of one silo of several: they are dealt in turn.
pub fn silo_rows(silo: usize, silos: usize) -> impl Iterator<Item = &'static str> {
    training_rows().skip(silo).step_by(silos.max(1))
}

/// A CSV text of these rows under the header.
pub fn table(rows: impl Iterator<Item = &'static str>) -> String {
    std::iter::once(header()).chain(rows).flat_map(|line| [line, "\n"]).collect()
}

/// Writes one silo's share of the training rows as a CSV file.
///
/// # Errors
/// A path that cannot be written, or a silo beyond their number.
pub fn write_silo(path: &Path, silo: usize, silos: usize) -> io::Result<()> {
    if silo >= silos {
        let why = format!("there is no silo {silo} among {silos}, which count from 0");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut file = std::fs::File::create(path)?;
    file.write_all(table(silo_rows(silo, silos)).as_bytes())
}

/// What a plan says of this table.
pub fn data_section(scaled_to: [f64; 2]) -> Data {
    let pixels = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| format!("pixel_{y}_{x}")));
    Data {
        label: "label".into(),
        classes: 10.into(),
        scaled_to,
        features: pixels.map(|column| Feature::range(column, 0.0, 16.0)).collect(),
        class_weights: None,
    }
}

fn rows() -> impl Iterator<Item = &'static str> {
    CSV.lines().skip(1)
}

fn held_out(index: usize) -> bool {
    index % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use params::Digest;

    use super::*;
    use crate::Dataset;

    #[test]
    fn the_file_is_the_one_that_its_readme_names() {
        let readme = include_str!("../data/README.md");
        assert!(readme.contains(&Digest::sha256(CSV.as_bytes()).to_string()));
    }

    #[test]
    fn each_fifth_row_is_held_out_and_the_rest_trains() {
        assert_eq!((training_rows().count(), held_out_rows().count()), (1438, 359));
        let lines: Vec<_> = CSV.lines().collect();
        assert_eq!(held_out_rows().next(), Some(lines[5]));
        assert_eq!(training_rows().nth(4), Some(lines[6]));
    }

    #[test]
    fn silos_share_the_training_rows_without_overlap_and_without_rest() {
        let shares: Vec<usize> = (0..5).map(|silo| silo_rows(silo, 5).count()).collect();
        assert_eq!(shares, [288, 288, 288, 287, 287]);
        let dealt: BTreeSet<_> = (0..5).flat_map(|silo| silo_rows(silo, 5)).map(str::as_ptr).collect();
        assert_eq!(dealt, training_rows().map(str::as_ptr).collect());
    }

    #[test]
    fn a_written_silo_loads_with_the_section_of_the_plan() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silo-2.csv");
        write_silo(&path, 2, 5).unwrap();
        let silo = Dataset::load(&path, None, &data_section([0.0, 1.0])).unwrap();
        assert_eq!((silo.rows(), silo.columns(), silo.clipped_values()), (288, 64, 0));
        assert!(silo.features().iter().all(|value| (0.0..=1.0).contains(value)));
        assert_eq!(silo.labels()[0], 2, "the third training row is a two");
    }

    #[test]
    fn a_silo_beyond_their_number_is_refused() {
        let error = write_silo(Path::new("unused.csv"), 5, 5).unwrap_err();
        assert_eq!(error.to_string(), "there is no silo 5 among 5, which count from 0");
    }
}
