//! `folkmoot audit`: a tamper-evident log, checked, read and copied offline from its files alone.

use std::path::{Path, PathBuf};

use audit::{FolderError, VerifyError, Wanted};
use identity::{printable, with_causes};
use tlog::{Checkpoint, Receipt, VerifierKey};

use crate::Failure;
use crate::files::read_text;

#[derive(clap::Subcommand, Debug)]
pub(crate) enum Audit {
    /// Check every entry, tile and signature of an audit log.
    #[command(
        after_help = "A log that was rolled back as a whole, or shown to others with another history, holds by \
                            itself: compare it with what was seen elsewhere, by --against or --receipt.\n\n\
                            Examples:\n  \
                            folkmoot audit verify audit --key NAME+HEX+BASE64\n  \
                            folkmoot audit verify audit --key KEY --against seen/checkpoint --receipt mine.tlog-proof"
    )]
    Verify(Box<VerifyArgs>),
    /// Print the events of an audit log; nothing is verified.
    Show(ShowArgs),
    /// Copy an audit log without its journal, for an auditor.
    Export(ExportArgs),
}

#[derive(clap::Args, Debug)]
pub(crate) struct VerifyArgs {
    /// The log's folder, or an export of it.
    folder: PathBuf,
    /// The log's verifier key.
    #[arg(long, value_name = "NAME+HEX+BASE64", value_parser = VerifierKey::parse)]
    key: VerifierKey,
    /// A checkpoint of the same log that was seen elsewhere, such as a silo's memory of it: the log must continue it.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// A receipt: its entry must be in the log, at its place.
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
pub(crate) struct ShowArgs {
    /// The log's folder, or an export of it.
    folder: PathBuf,
    /// Only this action, such as `upload.received`, or all of a thing, such as `upload`.
    #[arg(long, value_parser = Wanted::action)]
    action: Option<String>,
    /// Only this round.
    #[arg(long)]
    round: Option<u64>,
    /// One JSON object a line, with each entry's index.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
pub(crate) struct ExportArgs {
    /// The log's folder.
    folder: PathBuf,
    /// The folder to make.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

pub(crate) fn run(audit: &Audit) -> Result<(), Failure> {
    match audit {
        Audit::Verify(args) => verify(args),
        Audit::Show(args) => show(args),
        Audit::Export(args) => export(args),
    }
}

fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let (folder, key) = (&args.folder, &args.key);
    check_is_log(folder)?;
    let mut others = Vec::new();
    if let Some(file) = &args.against {
        let (checkpoint, _) = Checkpoint::open(&read_text(file)?, key).map_err(|why| not_its(file, &why))?;
        others.push(checkpoint);
    }
    let receipt = match &args.receipt {
        None => None,
        Some(file) => {
            let receipt = Receipt::parse(&read_text(file)?).map_err(|why| not_its(file, &why))?;
            let note = receipt.checkpoint.to_string();
            let (checkpoint, _) = Checkpoint::open(&note, key).map_err(|why| not_its(file, &why))?;
            others.push(checkpoint);
            Some((file, receipt))
        }
    };
    let report = audit::verify_log(folder, key, &others).map_err(|why| failure(&why))?;
    let entry = match &receipt {
        None => None,
        Some((file, receipt)) => {
            // The log was found to continue the receipt's checkpoint, so that its entry is here if it was there.
            let entry = audit::read_entries(folder, receipt.index..receipt.index.saturating_add(1));
            let entry = entry.map_err(|why| failure(&why))?.pop().unwrap_or_default();
            receipt.verify(&entry, key).map_err(|why| not_its(file, &why))?;
            Some((receipt.index, text(&entry)))
        }
    };
    let (size, root) = (report.checkpoint.size, hex::encode(report.checkpoint.root));
    if args.json {
        let receipt = entry.map(|(index, entry)| serde_json::json!({ "index": index, "entry": entry }));
        let shown = serde_json::json!({
            "log": key.name(),
            "entries": size,
            "root": root,
            "tiles": report.tiles,
            "continues": args.against,
            "receipt": receipt,
        });
        println!("{shown}");
        return Ok(());
    }
    println!("{size} entries of {} hold; {} tiles recomputed", printable(key.name()), report.tiles);
    println!("checkpoint: size {size}, root {root}");
    if let Some(file) = &args.against {
        println!("`{}`: this log continues it", file.display());
    }
    if let (Some((file, _)), Some((index, entry))) = (&receipt, &entry) {
        println!("`{}`: entry {index} is in it: {}", file.display(), printable(entry));
    }
    Ok(())
}

fn show(args: &ShowArgs) -> Result<(), Failure> {
    check_is_log(&args.folder)?;
    let wanted = Wanted { action: args.action.clone(), round: args.round, since_ms: None };
    let shown = audit::read_events(&args.folder, &wanted, |event| {
        println!("{}", if args.json { event.json() } else { event.line() });
        !daemon::out::is_closed()
    });
    shown.map_err(|why| failure(&why))
}

fn export(args: &ExportArgs) -> Result<(), Failure> {
    check_is_log(&args.folder)?;
    let checkpoint = audit::export(&args.folder, &args.out).map_err(|why| failure(&why))?;
    println!("{} entries copied to `{}`", checkpoint.size, args.out.display());
    Ok(())
}

fn text(entry: &[u8]) -> String {
    String::from_utf8_lossy(entry).into_owned()
}

/// A wrong path is a mistake in the call; a log that has lost its checkpoint is not.
fn check_is_log(folder: &Path) -> Result<(), Failure> {
    match audit::is_published(folder) {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "`{}`: holds no published audit log; name its folder",
            folder.display()
        ))),
    }
}

fn not_its(file: &Path, why: &tlog::NoteError) -> Failure {
    Failure::verification(format!("`{}`: {why}", file.display()))
}

/// A log that does not hold, or lacks a file, is a failed verification; a disk that fails is not.
fn failure(why: &VerifyError) -> Failure {
    let text = with_causes(why);
    match why {
        VerifyError::Folder(FolderError::Io { action: "read", source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Failure::Verification(text)
        }
        VerifyError::Folder(FolderError::Io { .. }) => Failure::Failed(text),
        _ => Failure::Verification(text),
    }
}
