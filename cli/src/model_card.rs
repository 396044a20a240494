//! `folkmoot model card`: a published version with measurements in its card, signed anew.

use std::fs;
use std::path::{Path, PathBuf};

use attest::{BUNDLE_FILE, EVIDENCE_FILE, IGNORED_PATHS, ModelKey, RoundEvidence};
use card::{CARD_FILE, Card, Evaluation, README_FILE};
use identity::with_causes;
use params::Digest;
use published::{Plain, read_bounded, verify_version};
use vault::files::WORLD_READABLE;
use vault::{MasterSource, Vault};

use crate::Failure;
use crate::files::{NewFolder, Unusable, read_secret_text};

const EVALUATION_BYTES_MAX: u64 = 1 << 16;

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
    let (record, manifest) = verify_version(&Plain::new(&args.folder), "")?;
    let text =
        read_bounded(&args.folder.join(CARD_FILE), card::CARD_BYTES_MAX as u64).map_err(Failure::usage)?;
    let own = Card::from_yaml(&String::from_utf8_lossy(&text)).and_then(|card| {
        // One version does not tell whom those before it learned from.
        let learned = card.training_data.silos.iter().map(|silo| silo.id).collect();
        card.check(&manifest, &learned, None).map(|()| card)
    });
    let mut card = own.map_err(|why| Unusable::new(&args.folder.join(CARD_FILE), why))?;
    for file in &args.evaluations {
        let bytes = read_bounded(file, EVALUATION_BYTES_MAX).map_err(Failure::usage)?;
        let evaluation = Evaluation::from_json(&bytes).map_err(|why| Unusable::new(file, why))?;
        if !card.take_up(&evaluation) {
            return Err(Unusable::new(
                file,
                format!("measures another model than {}'s", args.folder.display()),
            )
            .into());
        }
    }
    let mut files = others(&args.folder)?;
    files.push((CARD_FILE.into(), card.to_yaml().map_err(Failure::failed)?.into_bytes()));
    files.push((README_FILE.into(), card.readme().map_err(Failure::failed)?.into_bytes()));
    let signed = args.folder.join(BUNDLE_FILE).exists();
    match &args.model_key {
        Some(_) if !signed => {
            return Err(Failure::usage(format!(
                "`{}` has no {BUNDLE_FILE}, which --model-key would replace: leave the key out",
                args.folder.display()
            )));
        }
        Some(file) => {
            let key = model_key(file, args.master.as_ref())?;
            files.extend(sign(&args.folder, &record, &files, &key)?);
        }
        None if signed => eprintln!(
            "warning: the copy has no {BUNDLE_FILE} and no {EVIDENCE_FILE}: the card is another. Give --model-key to sign it"
        ),
        None => {}
    }
    NewFolder::whole(&args.out, &files, WORLD_READABLE)?;
    println!(
        "{}: version {}, {} figures in its card",
        args.out.display(),
        card.model.version,
        card.metrics.len()
    );
    Ok(())
}

/// The folder's files but for what is made anew.
fn others(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let made = [CARD_FILE, README_FILE, BUNDLE_FILE, EVIDENCE_FILE];
    let listed = published::list_files(folder, &made)?;
    let files = listed.into_iter().map(|(name, _)| {
        let bytes = fs::read(folder.join(&name)).map_err(|why| Unusable::new(&folder.join(&name), why))?;
        Ok((name, bytes))
    });
    files.collect()
}

/// The copy's signature and its evidence, by the key whose signature the folder has.
fn sign(
    folder: &Path,
    record: &checkpoint::SignedManifest,
    files: &[(String, Vec<u8>)],
    key: &ModelKey,
) -> Result<[(String, Vec<u8>); 2], Failure> {
    let part = |name: &str, bytes_max: usize| read_bounded(&folder.join(name), bytes_max as u64);
    let bundle = part(BUNDLE_FILE, attest::BUNDLE_BYTES_MAX).map_err(Failure::verification)?;
    let wrong =
        |name: &str, why: String| Failure::verification(format!("`{}`: {why}", folder.join(name).display()));
    let listed = published::list_files(folder, &[])?;
    let before = attest::verify_model(&bundle, &listed, key.public())
        .map_err(|why| wrong(BUNDLE_FILE, with_causes(&why)))?;
    let evidence = part(EVIDENCE_FILE, attest::EVIDENCE_BYTES_MAX).map_err(Failure::verification)?;
    let evidence = attest::verify_round(&evidence, &before, key.public())
        .and_then(|evidence| evidence.check(record, &before).map(|()| evidence))
        .map_err(|why| wrong(EVIDENCE_FILE, with_causes(&why)))?;
    signed_by(&before.name, files, &evidence, key)
}

fn signed_by(
    name: &str,
    files: &[(String, Vec<u8>)],
    evidence: &RoundEvidence,
    key: &ModelKey,
) -> Result<[(String, Vec<u8>); 2], Failure> {
    let digests: Vec<(String, Digest)> =
        files.iter().map(|(name, bytes)| (name.clone(), Digest::sha256(bytes))).collect();
    let model = attest::sign_model(name, &digests, &IGNORED_PATHS, key).map_err(Failure::failed)?;
    let evidence = attest::sign_round(name, &model.root, evidence, key).map_err(Failure::failed)?;
    Ok([(BUNDLE_FILE.into(), model.bundle), (EVIDENCE_FILE.into(), evidence)])
}

fn model_key(file: &Path, master: Option<&MasterSource>) -> Result<ModelKey, Failure> {
    let pem = match master {
        None => read_secret_text(file)?,
        Some(master) => {
            let folder =
                file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            Vault::open_folder(folder, master.clone())
                .and_then(|vault| vault::read_sealed_text(file, &vault, &name))
                .map_err(|why| Failure::usage(format!("--model-key: {}", with_causes(&why))))?
        }
    };
    Ok(ModelKey::from_pem(&pem).map_err(|why| Unusable::new(file, why))?)
}
