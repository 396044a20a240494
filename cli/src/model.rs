//! `folkmoot model fetch`: a published model, checked against the signed chain, on disk whole or not at all.

use std::path::PathBuf;

use checkpoint::{Manifest, SignedManifest};
use clap::Subcommand;
use operate::{Models, ModelsError};
use vault::files::{self, WORLD_READABLE};

use crate::connect::RemoteRun;
use crate::files::{NewFolder, cannot_write};
use crate::run::{self, RoundArgs};
use crate::{Failure, export, model_card};

#[derive(Subcommand, Debug)]
pub(crate) enum Model {
    /// Fetch the newest model, or another, with the signed record that vouches for it.
    #[command(
        after_help = "The file is replaced in one step, once every chunk and the signed chain have been checked.\n\n\
                      Examples:\n  \
                      folkmoot model fetch --coordinator http://127.0.0.1:7440 --out model.safetensors --key HEX\n  \
                      folkmoot model fetch --coordinator http://127.0.0.1:7440 --out round-12.safetensors --round 12\n  \
                      folkmoot model fetch --as admin --bundle round-12 --round 12\n  \
                      folkmoot model fetch --as admin --run wards --out wards.safetensors"
    )]
    Fetch(FetchArgs),
    /// Stop the use of a round's model: the run goes on from the one before, and silos learn of it.
    #[command(
        after_help = "Example:\n  folkmoot model quarantine 12 --reason 'poisoned by north' --as admin"
    )]
    Quarantine(RoundArgs),
    /// Go on from an earlier round's model. Privacy that was spent stays spent.
    #[command(
        after_help = "Example:\n  folkmoot model rollback 11 --reason 'rounds 12 and 13 are poisoned' --as admin"
    )]
    Rollback(RoundArgs),
    /// Write the models of every run of a sealed data folder in the clear, for whoever checks them offline.
    Export(export::Args),
    /// Copy a published version with measurements in its model card, signed anew.
    Card(model_card::Args),
}

#[derive(clap::Args, Debug)]
pub(crate) struct FetchArgs {
    #[command(flatten)]
    run: RemoteRun,
    /// Where the model goes.
    #[arg(long, value_name = "FILE", required_unless_present = "bundle", conflicts_with = "bundle")]
    out: Option<PathBuf>,
    /// A folder to make instead, with everything that was published with the model: the signed plan, card, record, signatures,
    /// evidence. Nothing else is needed to use it.
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// The model of this round instead of the newest.
    #[arg(long, value_name = "N", conflicts_with = "digest")]
    round: Option<u64>,
    /// The model with these parameters instead of the newest.
    #[arg(long, value_name = "HEX")]
    digest: Option<String>,
    /// Fetch it though it is quarantined: to find out what is wrong with it.
    #[arg(long)]
    quarantined: bool,
    /// The coordinator's public key, as the roster names it.
    #[arg(long, value_name = "HEX")]
    key: Option<String>,
}

pub(crate) async fn run(model: Model) -> Result<(), Failure> {
    let args = match model {
        Model::Fetch(args) => args,
        Model::Quarantine(args) => return run::quarantine(args).await,
        Model::Rollback(args) => return run::rollback(args).await,
        Model::Export(args) => return export::run(&args),
        Model::Card(args) => return model_card::run(&args),
    };
    let key = args.key.as_deref().map(identity::parse_verifying_key).transpose();
    let key = key.map_err(|why| Failure::usage(format!("--key: {why}")))?;
    let (link, run) = args.run.connect().await?;
    let mut models = Models::over(link, key).of_run(run);
    let chain = models.new_signed().await?;
    let wanted = |(_, manifest): &(SignedManifest, Manifest)| {
        args.round.is_none_or(|round| manifest.round == round)
            && args.digest.as_ref().is_none_or(|hex| manifest.model.params_digest.to_string() == *hex)
    };
    let newest = chain.last().map_or(0, |(_, manifest)| manifest.round);
    let (signed, manifest) = chain.into_iter().rev().find(wanted).ok_or_else(|| {
        Failure::usage(format!("no checkpoint of this run has that model; the newest is of round {newest}"))
    })?;
    // Looked at before it is fetched: what was withdrawn is written on request only, and never without a word.
    match models.check_use(&manifest) {
        Err(why @ ModelsError::Quarantined { .. }) if args.quarantined => eprintln!("warning: {why}"),
        checked => checked?,
    }
    let bytes = models.fetch(&manifest).await?;
    if let Some(out) = &args.out {
        files::put(out, &bytes, WORLD_READABLE).map_err(|why| cannot_write(out, why))?;
        let (out, sha256) = (out.display(), manifest.model.sha256);
        println!("{out}: round {}, {} bytes, sha256 {sha256}", manifest.round, bytes.len());
        println!(
            "folkmoot predict {out} ROWS.csv --plan plan.json    # the run's plan; --bundle brings it along"
        );
    }
    if let Some(folder) = &args.bundle {
        let files = models.bundle(&signed, &manifest, bytes).await?;
        NewFolder::whole(folder, &files, WORLD_READABLE)?;
        println!("{}: round {}, {} files", folder.display(), manifest.round, files.len());
        println!("folkmoot predict {} ROWS.csv", folder.display());
        if !files.iter().any(|(name, _)| *name == plan::PLAN_FILE) {
            eprintln!(
                "warning: no plan was published with this version, as earlier releases did not: keep the signed plan with it, to \
                 check and to use it"
            );
        }
        if files.iter().any(|(name, _)| *name == attest::BUNDLE_FILE) {
            println!(
                "model_signing verify key {0} --signature {0}/{1} --public_key model.pub.pem",
                folder.display(),
                attest::BUNDLE_FILE
            );
        } else {
            eprintln!(
                "warning: this coordinator signs no models for public tools: its configuration has no model_key_file"
            );
        }
    }
    if key.is_none() {
        eprintln!(
            "warning: no key is pinned, so this shows that one key signed the whole chain, not whose it is: {}",
            manifest.public_key
        );
    }
    Ok(())
}
