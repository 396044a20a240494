//! `folkmoot bench utility`: what privacy costs in accuracy, on public data, as reports that anyone can make again.
//!
//! Whole runs are rehearsed in this process: the real training, clipping, noise and server step, without network and
//! masks, which change no bit of a model.

mod digits;
mod fashion;
mod heart;
mod measure;

use std::path::{Path, PathBuf};

use crate::error::UtilityError;

/// Which reports, over how many seeds.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Reports: digits.md (data in the program), heart.md (heart/heart_flat.csv of --data) and fashion.md \
                  (fashion-mnist/*.gz of --data). What has no data is left as it is, and said.\n\n\
                  Example:\n  folkmoot bench utility --out reports --data ../shared/data"
)]
pub struct UtilityArgs {
    /// The folder that the reports are written into.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
    /// The folder with the optional data sets.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How many seeds each figure is the mean of.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=100))]
    seeds: u8,
    /// Only this report.
    #[arg(long, value_enum)]
    only: Option<Chosen>,
}

/// A report.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// On handwritten digits: what the noise costs.
    Digits,
    /// On four hospitals: federated, pooled and local training.
    Heart,
    /// On images: a convolutional network.
    Fashion,
}

pub(crate) fn run(args: &UtilityArgs) -> Result<(), UtilityError> {
    let wanted = |report| args.only.is_none_or(|only| only == report);
    std::fs::create_dir_all(&args.out).map_err(|why| unusable(&args.out, why))?;
    if wanted(Chosen::Digits) {
        write(&args.out, "digits.md", &digits::report(args.seeds)?)?;
    }
    type Made = fn(&Path, u8) -> Result<String, UtilityError>;
    let optional: [(Chosen, &'static str, &'static str, Made); 2] = [
        (Chosen::Heart, "heart.md", "heart/heart_flat.csv", heart::report),
        (Chosen::Fashion, "fashion.md", "fashion-mnist", fashion::report),
    ];
    for (report, file, data, made) in optional {
        if !wanted(report) {
            continue;
        }
        match args.data.as_deref().map(|folder| folder.join(data)).filter(|path| path.exists()) {
            Some(path) => write(&args.out, file, &made(&path, args.seeds)?)?,
            None if args.only == Some(report) => {
                return Err(UtilityError::NoData { file, data });
            }
            None => eprintln!("{file} is left as it is: it needs {data} in the folder of --data"),
        }
    }
    Ok(())
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), UtilityError> {
    let path = folder.join(name);
    std::fs::write(&path, text).map_err(|why| unusable(&path, why))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

fn unusable(path: &Path, why: std::io::Error) -> UtilityError {
    UtilityError::File { path: path.to_owned(), why }
}
