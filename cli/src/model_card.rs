//! `folkmoot model card`: a published version with measurements in its card, signed anew.

use std::path::{Path, PathBuf};

use attest::{BUNDLE_FILE, EVIDENCE_FILE, ModelKey};
use identity::with_causes;
use published::Measured;
use vault::files::{WORLD_READABLE, parent};
use vault::{MasterSource, Vault};

use crate::Failure;
use crate::files::{NewFolder, Unusable, read_secret_text};

#[derive(clap::Args, Debug)]
#[command(
    after_help = "A version is measured after it was published, and what was published stays as it is: this makes a copy. \
                  A copy of a folder with model.sig is signed by the same key, or carries no signature.\n\n\
                  SOURCE: FILE, credential:NAME, environment:NAME, passphrase_file:FILE or \
                  passphrase_credential:NAME.\n\n\
                  Examples:\n  \
                  folkmoot model card round-30 --evaluation evaluation.json --out for-the-hub\n  \
                  folkmoot model card round-30 --evaluation evaluation.json --out for-the-hub --model-key model.key \
                  --master master.key"
)]
pub(crate) struct Args {
    /// One version: what `folkmoot model fetch --bundle` made, or a checkpoint in a folder that `model export` made.
    folder: PathBuf,
    /// What `folkmoot evaluate` wrote; may be given several times.
    #[arg(long = "evaluation", value_name = "FILE", required = true)]
    evaluations: Vec<PathBuf>,
    /// Where the copy goes; must not exist.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The key that signed the folder's model.sig.
    #[arg(long, value_name = "FILE")]
    model_key: Option<PathBuf>,
    /// Opens a sealed --model-key; its keyring lies beside it.
    #[arg(long, value_name = "SOURCE", requires = "model_key")]
    master: Option<MasterSource>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut measured = Measured::of(&args.folder)?;
    args.evaluations.iter().try_for_each(|file| measured.take_up(file))?;
    let mut files = measured.files()?;
    match &args.model_key {
        Some(_) if !measured.is_signed() => {
            return Err(Failure::usage(format!(
                "`{}` has no {BUNDLE_FILE}, which --model-key would replace: leave the key out",
                args.folder.display()
            )));
        }
        Some(file) => measured.sign(&mut files, &model_key(file, args.master.as_ref())?)?,
        None if measured.is_signed() => eprintln!(
            "warning: the copy has no {BUNDLE_FILE} and no {EVIDENCE_FILE}: the card is another. Give --model-key to sign it"
        ),
        None => {}
    }
    NewFolder::whole(&args.out, &files, WORLD_READABLE)?;
    let card = measured.card();
    println!(
        "{}: version {}, {} figures in its card",
        args.out.display(),
        card.model.version,
        card.metrics.len()
    );
    Ok(())
}

fn model_key(file: &Path, master: Option<&MasterSource>) -> Result<ModelKey, Failure> {
    let pem = match master {
        None => read_secret_text(file)?,
        Some(master) => {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            Vault::open_folder(parent(file), master.clone())
                .and_then(|vault| vault::read_sealed_text(file, &vault, &name))
                .map_err(|why| Failure::usage(format!("--model-key: {}", with_causes(&why))))?
        }
    };
    Ok(ModelKey::from_pem(&pem).map_err(|why| Unusable::new(file, why))?)
}
