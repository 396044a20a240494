//! `folkmoot data`: what a silo's files are, found out for a person to confirm.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use identity::printable;
use inspect::{InspectError, Proposal};

use crate::Failure;
use crate::files::{WriteError, write_document};

#[derive(Subcommand, Debug)]
pub(crate) enum Data {
    /// Propose from a silo's files how they are written and what their columns mean, and write it down once confirmed.
    #[command(
        after_help = "The files are read and nothing is sent. Nothing is decided either: what is proposed is shown with its reasons, and \
                      is a text file to correct.\n\n\
                      Examples:\n  folkmoot data register silo.csv --plan plan.toml\n  \
                      folkmoot data register exports/ --label Ill --out ward.toml --yes"
    )]
    Register {
        /// A file of the silo, CSV or alike, also packed by gzip; or a folder of them.
        file: PathBuf,
        /// The plan that the silo is to take part in, TOML or signed: its columns are looked for, and called as it calls them.
        #[arg(long, value_name = "FILE")]
        plan: Option<PathBuf>,
        /// The column that a model is to predict, as the files name it [default: the plan's]
        #[arg(long, value_name = "COLUMN")]
        label: Option<String>,
        /// Where the registration goes; must not exist.
        #[arg(long, visible_alias = "output", value_name = "FILE", default_value = "registration.toml")]
        out: PathBuf,
        /// Write it without asking.
        #[arg(long)]
        yes: bool,
    },
}

pub(crate) fn run(data: &Data) -> Result<(), Failure> {
    let Data::Register { file, plan, label, out, yes } = data;
    // Before a long file is read for nothing.
    if out.exists() {
        return Err(WriteError::DocumentTaken { place: out.clone() }.into());
    }
    let plan = plan.as_deref().map(crate::plan::read_any).transpose()?;
    let proposal = Proposal::of(file, label.as_deref(), plan.as_ref().map(|plan| &plan.data))
        .map_err(|why| unusable(file, &why))?;
    println!("{}: {}", file.display(), proposal.to_text());
    if !yes && !is_confirmed(out)? {
        return Err(Failure::failed("nothing was written"));
    }
    write_document(out, proposal.to_toml().trim_end())?;
    let line = toml::Value::from(out.display().to_string());
    println!(
        "`{}`: correct it where it is wrong; in client.toml, below `data`: registration = {line}",
        out.display()
    );
    Ok(())
}

fn unusable(file: &Path, why: &InspectError) -> Failure {
    Failure::usage(format!("`{}`: {}", file.display(), printable(&why.to_string())))
}

fn is_confirmed(out: &Path) -> Result<bool, Failure> {
    print!("Write this to `{}`? [y/N] ", out.display());
    std::io::stdout().flush().map_err(Failure::failed)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(Failure::failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
