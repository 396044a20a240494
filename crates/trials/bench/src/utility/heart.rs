//! Heart disease in four hospitals: federated averaging against pooled and local training.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use datasets::Dataset;
use params::Activation;
use plan::{Data, Exact, Feature, Model, Plan, Privacy, Weights};
use rehearsal::{NoiseLevel, Rehearsal};

use super::measure::{Setup, averaging, mean, training};
use crate::error::UtilityError;

const FOLDS: usize = 5;
const REPETITIONS: u8 = 20;
/// Public ranges: of the questionnaire's codes, and of what is medically possible.
const FEATURES: [(&str, f64, f64); 10] = [
    ("age", 20.0, 90.0),
    ("sex", 0.0, 1.0),
    ("cp", 1.0, 4.0),
    ("trestbps", 80.0, 200.0),
    ("chol", 0.0, 600.0),
    ("fbs", 0.0, 1.0),
    ("restecg", 0.0, 2.0),
    ("thalach", 60.0, 210.0),
    ("exang", 0.0, 1.0),
    ("oldpeak", -2.0, 6.0),
];

pub(super) fn report(file: &Path, _seeds: u8) -> Result<String, UtilityError> {
    let text =
        std::fs::read_to_string(file).map_err(|why| UtilityError::File { path: file.to_owned(), why })?;
    let (header, hospitals) = hospitals(&text)?;
    let plan = plan(hospitals.len());
    let mut by_method: [Vec<f64>; 3] = Default::default();
    for repetition in 1..=REPETITIONS {
        let mut right = [0.0; 3];
        let mut tested = 0.0;
        let folds: Vec<Vec<Vec<&str>>> = hospitals.values().map(|rows| folds(rows, repetition)).collect();
        for fold in 0..FOLDS {
            let parts = |training| part(&folds, fold, training);
            let tables = |rows: Vec<Vec<&str>>| {
                rows.iter().map(|rows| table(&plan, header, rows)).collect::<Result<Vec<_>, _>>()
            };
            let (silos, tests) = (tables(parts(true))?, tables(parts(false))?);
            let pooled = [table(&plan, header, &parts(true).concat())?];
            let seed = [repetition.wrapping_mul(FOLDS as u8).wrapping_add(fold as u8); 32];
            let (federated, central) = (trained(&plan, &silos, seed)?, trained(&plan, &pooled, seed)?);
            for (silo, test) in silos.iter().zip(&tests) {
                let local = trained(&plan, std::slice::from_ref(silo), seed)?;
                for (right, model) in right.iter_mut().zip([&federated, &central, &local]) {
                    let metrics = train::evaluate(&plan, model, test)?;
                    *right += metrics.accuracy * test.rows() as f64;
                }
                tested += test.rows() as f64;
            }
        }
        for (by_method, right) in by_method.iter_mut().zip(right) {
            by_method.push(right / tested);
        }
    }
    Ok(written(&hospitals, &by_method))
}

fn written(hospitals: &BTreeMap<&str, Vec<&str>>, by_method: &[Vec<f64>; 3]) -> String {
    let counts: Vec<String> = hospitals.iter().map(|(name, rows)| format!("{name} {}", rows.len())).collect();
    let mut text = format!(
        "# Heart disease: four hospitals\n\n\
         Made by `folkmoot bench utility`. UCI 45, CC BY 4.0 (Janosi, Steinbrunn, Pfisterer, Detrano 1988); rows: {}. Logistic\n\
         regression on ten features, scaled by public ranges; {REPETITIONS} times {FOLDS}-fold cross-validation, folds drawn inside each\n\
         hospital; accuracy over all rows, in per cent. No noise: this compares federated averaging, weighted by rows and\n\
         summed in the exact mode's integers, with the same training on pooled rows and in each hospital alone.\n\n\
         | training | accuracy | standard deviation over repetitions |\n| --- | --- | --- |\n",
        counts.join(", ")
    );
    for (name, accuracies) in ["federated averaging", "pooled", "each hospital alone"].iter().zip(by_method) {
        let mean = mean(accuracies);
        let squares: f64 = accuracies.iter().map(|a| (a - mean).powi(2)).sum();
        let deviation = (squares / (accuracies.len() - 1) as f64).sqrt();
        let _ = writeln!(text, "| {name} | {:.2} | {:.2} |", 100.0 * mean, 100.0 * deviation);
    }
    let [federated, pooled, _] = by_method;
    let _ = write!(
        text,
        "\nFederated minus pooled: {:+.2} points. One hospital has nearly no healthy patient, so that its own model guesses\n\
         well: federated training equals pooled training here, it does not beat local training in this measure.\n",
        100.0 * (mean(federated) - mean(pooled))
    );
    text
}

/// The header, and each hospital's rows in the file's order.
fn hospitals(text: &str) -> Result<(&str, BTreeMap<&str, Vec<&str>>), UtilityError> {
    let mut lines = text.lines();
    let header = lines.next().filter(|header| header.starts_with("hospital,"));
    let header = header.ok_or(UtilityError::NoHospitals)?;
    let mut hospitals: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in lines {
        let (hospital, _) = line.split_once(',').ok_or(UtilityError::NoHospital)?;
        hospitals.entry(hospital).or_default().push(line);
    }
    Ok((header, hospitals))
}

/// Each hospital's rows of this fold, for testing, or of all others.
fn part<'a>(folds: &[Vec<Vec<&'a str>>], fold: usize, training: bool) -> Vec<Vec<&'a str>> {
    let kept = |of_one: &Vec<Vec<&'a str>>| {
        let wanted = of_one.iter().enumerate().filter(|(index, _)| (*index == fold) != training);
        wanted.flat_map(|(_, rows)| rows.iter().copied()).collect()
    };
    folds.iter().map(kept).collect()
}

/// The rows, shuffled and dealt into folds.
fn folds<'a>(rows: &[&'a str], repetition: u8) -> Vec<Vec<&'a str>> {
    let mut rng = ChaCha20Rng::from_seed([repetition; 32]);
    let mut rows = rows.to_vec();
    for last in (1..rows.len()).rev() {
        rows.swap(last, (rng.next_u64() % (last as u64 + 1)) as usize);
    }
    (0..FOLDS).map(|fold| rows.iter().skip(fold).step_by(FOLDS).copied().collect()).collect()
}

fn table(plan: &Plan, header: &str, rows: &[&str]) -> Result<Dataset, UtilityError> {
    let text: String = std::iter::once(&header).chain(rows).flat_map(|line| [line, "\n"]).collect();
    Ok(Dataset::from_csv("heart_flat.csv", text.as_bytes(), &plan.data)?)
}

fn trained(plan: &Plan, silos: &[Dataset], seed: [u8; 32]) -> Result<params::Params, UtilityError> {
    Ok(Rehearsal::new(plan, silos, NoiseLevel::AsPlanned, seed).and_then(Rehearsal::run)?)
}

fn plan(silos: usize) -> Plan {
    let feature = |(column, minimum, maximum): (&str, f64, f64)| Feature::range(column, minimum, maximum);
    Setup {
        data: Data {
            label: "label".into(),
            classes: 2.into(),
            scaled_to: [-1.0, 1.0],
            features: FEATURES.into_iter().map(feature).collect(),
            class_weights: None,
        },
        model: Model { hidden: Vec::new(), activation: Activation::Relu, initial_seed: 1, network: None },
        training: training(1, 16, 0.1),
        server: averaging(1.0, 0.0),
        privacy: Privacy::Exact(Exact {
            coordinate_max: 4.0,
            fraction_bits: 24,
            weights: Weights::Rows { rows_max: 1024 },
            evaluate: false,
            loss_max: 10.0,
        }),
        honest_min: 2,
        rounds: 100,
    }
    .plan(silos)
}
