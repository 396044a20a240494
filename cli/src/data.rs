//! `folkmoot data`: what a silo's files are, found out for a person to confirm.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use identity::printable;
use inspect::{InspectError, Inspection, Known, Proposal};
use plan::Plan;
use registration::Registration;

use crate::Failure;
use crate::files::{Unusable, WriteError, read_text, write_document, write_private};

#[derive(Subcommand, Debug)]
pub(crate) enum Data {
    /// Look at a silo's files: what their columns hold, and what a person should look at before anybody trains on them.
    #[command(
        after_help = "The files are read in bounded memory, and nothing is sent. What is shown are statistics without any noise, for the \
                      silo's own screen. With --json no category is shown, and of each thing to look at one cell at most, cut.\n\n\
                      Examples:\n  folkmoot data inspect silo.csv --plan plan.toml\n  \
                      folkmoot data inspect --config client.toml --page silo.html\n  \
                      folkmoot data inspect exports/ --registration registration.toml --json"
    )]
    Inspect {
        #[command(flatten)]
        table: Table,
        /// How the files are written and what their columns mean [default: what `register` would propose]
        #[arg(long, value_name = "FILE")]
        registration: Option<PathBuf>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        /// Write a page with pictures too, for a browser on this machine; must not exist.
        #[arg(long, value_name = "FILE.html")]
        page: Option<PathBuf>,
    },
    /// Propose from a silo's files how they are written and what their columns mean, and write it down once confirmed.
    #[command(
        after_help = "The files are read and nothing is sent. Nothing is decided either: what is proposed is shown with its reasons, and \
                      is a text file to correct.\n\n\
                      Examples:\n  folkmoot data register silo.csv --plan plan.toml\n  \
                      folkmoot data register exports/ --label Ill --out ward.toml --yes"
    )]
    Register {
        #[command(flatten)]
        table: Table,
        /// Where the registration goes; must not exist.
        #[arg(long, visible_alias = "output", value_name = "FILE", default_value = "registration.toml")]
        out: PathBuf,
        /// Write it without asking.
        #[arg(long)]
        yes: bool,
    },
}

/// A silo's files, and what is known of them.
#[derive(clap::Args, Debug)]
pub(crate) struct Table {
    /// A file of the silo (text, also packed, or Parquet), or a folder of such, of IDX files, or of images by class.
    #[arg(required_unless_present = "config", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// In place of it a silo's client.toml, for its `data`, and its `registration` where it has one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The plan that the silo is to take part in, TOML or signed: its columns are looked for, and called as it calls them.
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// The column that a model is to predict, as the files name it [default: the plan's]
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,
}

impl Table {
    /// The path that client.toml has under this key.
    fn configured(&self, key: &str) -> Option<PathBuf> {
        daemon::path_of(key, self.config.as_deref()?)
    }

    fn read(&self) -> Result<(PathBuf, Option<Plan>), Failure> {
        let file = self.file.clone().or_else(|| self.configured("data"));
        let file = file.ok_or_else(|| {
            Failure::usage("--config: it cannot be read, or names no `data`; name the file itself")
        })?;
        Ok((file, self.plan.as_deref().map(crate::plan::read_any).transpose()?))
    }
}

pub(crate) fn run(data: &Data) -> Result<(), Failure> {
    let (Data::Register { table, .. } | Data::Inspect { table, .. }) = data;
    let new = match data {
        Data::Register { out, .. } => Some(out),
        Data::Inspect { page, .. } => page.as_ref(),
    };
    // Before a long file is read for nothing.
    if let Some(place) = new.filter(|place| place.exists()) {
        return Err(WriteError::DocumentTaken { place: place.clone() }.into());
    }
    let (file, plan) = table.read()?;
    let (label, plan) = (table.label.as_deref(), plan.as_ref().map(|plan| &plan.data));
    match data {
        Data::Register { out, yes, .. } => {
            let proposal = Proposal::of(&file, label, plan).map_err(|why| unusable(&file, &why))?;
            register(&file, &proposal, out, *yes)
        }
        Data::Inspect { registration, json, page, .. } => {
            let registration = registration.clone().or_else(|| table.configured("registration"));
            let registration = registration.as_deref().map(registered).transpose()?;
            let known = Known { registration: registration.as_ref(), plan, label };
            let found = Inspection::of(&file, &known).map_err(|why| unusable(&file, &why))?;
            print!(
                "{}",
                if *json { found.to_json().map_err(Failure::failed)? + "\n" } else { found.to_text() }
            );
            let Some(page) = page else { return Ok(()) };
            write_private(page, &found.to_page())?;
            eprintln!(
                "`{}`: for this silo's operator alone (mode 0600); it shows values of single rows",
                page.display()
            );
            Ok(())
        }
    }
}

fn register(file: &Path, proposal: &Proposal, out: &Path, yes: bool) -> Result<(), Failure> {
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

/// What an operator has registered of files.
pub(crate) fn registered(file: &Path) -> Result<Registration, Unusable> {
    Registration::from_toml(&read_text(file)?).map_err(|why| Unusable::new(file, why))
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
