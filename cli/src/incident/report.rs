//! An incident's evidence in one file that can be checked without the coordinator.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use attest::{Envelope, EnvelopeError, ModelKey, ModelKeyError, ModelPublicKey};
use checkpoint::{ChainVerifier, MANIFEST_FILE, SIGNATURE_FILE, SignedManifest, folder_name};
use identity::{Authority, AuthorityError, RosterError, SignedRoster, with_causes};
use params::Digest;
use published::FolderError;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tlog::{Hash, leaf_hash, node_hash};
use wire::limits::MESSAGE_BYTES_MAX;
use wire::v1::audit_client::AuditClient;
use wire::v1::operator_client::OperatorClient;
use wire::v1::{EntriesRequest, ListClientsRequest, ListIncidentsRequest, StatusRequest};

use super::Told;
use crate::clients::{Unbelieved, roster_in_force};
use crate::connect::{ConnectError, Remote, now_s, printable, refused, roster_key};
use crate::files::{Unusable, WriteError, cannot_write};
use crate::model::{Models, ModelsError, write_folder, write_whole};
use crate::{status, verify};

const PAYLOAD_TYPE: &str = "application/vnd.folkmoot.incident+json";
const FORMAT: &str = "folkmoot incident 1";
const INDEX: &str = "index.json";
const ENVELOPE: &str = "index.dsse.json";
const PUBLIC_KEY: &str = "operator.pub.pem";
const ENTRIES: &str = "audit/entries.jsonl";
const ROSTER: &str = "roster.json";
const AUTHORITY: &str = "authority.json";
const CHECKPOINTS: &str = "checkpoints/";
/// Limits of what is read back.
const FILES_MAX: usize = 100_000;
const BYTES_MAX: u64 = 1 << 30;

type Files = BTreeMap<String, Vec<u8>>;

#[derive(clap::Args, Debug)]
pub(crate) struct ReportArgs {
    /// The incident.
    id: String,
    /// Where the report goes: a file FILE.tar, or else a folder; must not exist.
    #[arg(long, value_name = "FILE.tar|FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    remote: Remote,
}

#[derive(clap::Args, Debug)]
pub(crate) struct VerifyArgs {
    /// The report.
    file: PathBuf,
    /// The public key of who made it, PEM; without it the report's own is taken, which shows only that nothing was
    /// changed since.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// What is signed: every other file by its SHA-256.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    format: String,
    federation: String,
    incident: String,
    made_s: u64,
    audit_size: u64,
    audit_root: String,
    files: BTreeMap<String, Digest>,
}

/// What is read of an index first.
#[derive(Deserialize)]
struct Numbered {
    format: String,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    #[error("`{}` exists; write the report beside it", out.display())]
    Exists { out: PathBuf },
    #[error("a report is signed with an operator's key: give --as FOLDER, an operator's folder")]
    NoCredentials,
    #[error("{}", with_causes(.0))]
    Key(#[source] ModelKeyError),
    #[error("there is no incident `{id}`; `folkmoot incident list` shows them")]
    NoIncident { id: String },
    #[error(transparent)]
    Call(#[from] ConnectError),
    #[error(transparent)]
    Models(#[from] ModelsError),
    #[error(transparent)]
    Roster(#[from] Unbelieved),
    #[error(transparent)]
    Coordinator(#[from] RosterError),
    #[error("the coordinator's audit log has no entry {next} where it must be")]
    NoEntry { next: u64 },
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error(transparent)]
    Pack(std::io::Error),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Why a report does not hold.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportFault {
    /// It, or the key to hold it against, cannot be read.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("`{}`: `{}` {why}", file.display(), printable(entry))]
    Entry { file: PathBuf, entry: String, why: &'static str },
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A file in it is not what was signed.
    #[error("{}: {why}", printable(name))]
    Bad { name: String, why: String },
    #[error("`{}`: {}: {why}", report.display(), printable(name))]
    BadIn { report: PathBuf, name: String, why: String },
}

pub(super) async fn report(args: ReportArgs) -> Result<(), ReportError> {
    if args.out.exists() {
        return Err(ReportError::Exists { out: args.out });
    }
    let authority = args.remote.authority()?;
    let credentials = args.remote.credentials()?.ok_or(ReportError::NoCredentials)?;
    // The key of the operator's connections signs the report too, so that a report needs no second key to be handed out,
    // pinned and revoked. Neither signature can be taken for the other: TLS 1.3, the only version here, signs 64 spaces and
    // its own context string before a hash, and DSSE signs a text that begins with its name.
    let key = ModelKey::from_pem(&credentials.key.to_pem()).map_err(ReportError::Key)?;
    let mut files = gather(&args, &authority).await?;
    files.insert("operator.crt".into(), credentials.chain.into_bytes());
    seal(&mut files, &args.id, &authority, &key)?;
    let (count, out) = (files.len(), args.out.display());
    if is_tar(&args.out) {
        let packed = pack(&files).map_err(ReportError::Pack)?;
        write_whole(&args.out, &packed).map_err(|why| cannot_write(&args.out, why))?;
    } else {
        let files: Vec<(&str, Vec<u8>)> =
            files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        write_folder(&args.out, &files)?;
    }
    println!("`{out}`: {count} files; folkmoot incident verify {out}");
    Ok(())
}

async fn gather(args: &ReportArgs, authority: &Authority) -> Result<Files, ReportError> {
    let mut files = Files::new();
    let link = args.remote.connect().await?;
    let mut admin = args.remote.admin().await?;
    let incidents =
        admin.list_incidents(ListIncidentsRequest {}).await.map_err(|why| refused(&why))?.into_inner();
    let incident = incidents.incidents.iter().find(|incident| incident.id == args.id);
    let incident = incident.ok_or_else(|| ReportError::NoIncident { id: args.id.clone() })?;
    put(&mut files, "incident.json", &to_json(incident))?;

    let listed = admin.list_clients(ListClientsRequest {}).await.map_err(|why| refused(&why))?.into_inner();
    let roster = roster_in_force(&listed, &roster_key(authority)?)?;
    files.insert(ROSTER.into(), listed.roster.into_bytes());
    files.insert(AUTHORITY.into(), authority.to_canonical().into_bytes());

    let mut audit = AuditClient::new(link.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let entries = audit.entries(EntriesRequest { from: 0 }).await.map_err(|why| refused(&why))?;
    let (mut entries, mut lines, mut next) = (entries.into_inner(), Vec::new(), 0);
    while let Some(entry) = entries.message().await.map_err(|why| refused(&why))? {
        if entry.index != next || entry.entry.contains(&b'\n') {
            return Err(ReportError::NoEntry { next });
        }
        next += 1;
        lines.extend_from_slice(&entry.entry);
        lines.push(b'\n');
    }
    files.insert(ENTRIES.into(), lines);

    let coordinator = roster.coordinator_key()?;
    let mut models = Models::over(link.clone(), Some(coordinator));
    for (signed, manifest) in models.new_signed().await? {
        let folder = format!("{CHECKPOINTS}{}", folder_name(manifest.round));
        files.insert(format!("{folder}/{MANIFEST_FILE}"), signed.manifest_bytes);
        files.insert(format!("{folder}/{SIGNATURE_FILE}"), signed.signature.to_vec());
        for (name, bytes) in models.attestation(manifest.round).await? {
            files.insert(format!("{folder}/{name}"), bytes);
        }
    }

    let run =
        OperatorClient::new(link).status(StatusRequest {}).await.map_err(|why| refused(&why))?.into_inner();
    let versions = json!({ "folkmoot": env!("CARGO_PKG_VERSION"), "coordinator": run.server_version });
    put(&mut files, "versions.json", &versions)?;
    put(&mut files, "status.json", &status::to_json(&run))?;
    Ok(files)
}

fn put(files: &mut Files, name: &str, value: &serde_json::Value) -> Result<(), serde_json::Error> {
    files.insert(name.into(), serde_json::to_vec_pretty(value)?);
    Ok(())
}

fn to_json(incident: &Told) -> serde_json::Value {
    let note =
        |note: &wire::v1::IncidentNote| json!({ "time_ms": note.time_ms, "by": note.by, "text": note.text });
    json!({
        "id": incident.id,
        "title": incident.title,
        "opened_ms": incident.opened_ms,
        "opened_by": incident.opened_by,
        "notes": incident.notes.iter().map(note).collect::<Vec<_>>(),
        "closed_ms": incident.closed_ms,
    })
}

/// Adds the index of all files, and the signature over it.
fn seal(files: &mut Files, incident: &str, authority: &Authority, key: &ModelKey) -> Result<(), ReportError> {
    files.insert(PUBLIC_KEY.into(), key.public().to_pem().as_bytes().to_vec());
    let (audit_size, root) = audit_root(files.get(ENTRIES).map_or(&[][..], Vec::as_slice));
    let index = Index {
        format: FORMAT.into(),
        federation: authority.federation.clone(),
        incident: incident.to_owned(),
        made_s: now_s()?,
        audit_size,
        audit_root: hex::encode(root),
        files: files.iter().map(|(name, bytes)| (name.clone(), Digest::sha256(bytes))).collect(),
    };
    let bytes = serde_json::to_vec_pretty(&index)?;
    let envelope = Envelope::sign(PAYLOAD_TYPE, bytes.clone(), key).to_json()?;
    files.insert(INDEX.into(), bytes);
    files.insert(ENVELOPE.into(), envelope);
    Ok(())
}

/// How many entries these lines are, and the root of their log's tree.
fn audit_root(lines: &[u8]) -> (u64, Hash) {
    let leaves: Vec<Hash> = lines
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| leaf_hash(line.strip_suffix(b"\n").unwrap_or(line)))
        .collect();
    (leaves.len() as u64, tree(&leaves))
}

fn tree(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => *Digest::sha256(b"").as_bytes(),
        [leaf] => *leaf,
        // RFC 9162: the left half is the largest power of two below the whole.
        more => {
            let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
            node_hash(&tree(left), &tree(right))
        }
    }
}

pub(super) fn verify(args: &VerifyArgs) -> Result<(), ReportFault> {
    let files = if args.file.is_dir() { read_folder(&args.file)? } else { unpack(&args.file)? };
    let pinned = args.key.as_deref().map(verify::read_model_key).transpose()?;
    let index = check(&files, pinned.as_ref()).map_err(|why| match why {
        ReportFault::Bad { name, why } => ReportFault::BadIn { report: args.file.clone(), name, why },
        why => why,
    })?;
    println!(
        "incident {} of {}: {} files hold",
        printable(&index.incident),
        printable(&index.federation),
        files.len()
    );
    println!("audit log: {} entries, root {}", index.audit_size, printable(&index.audit_root));
    if pinned.is_none() {
        eprintln!(
            "warning: no key is pinned, so this shows that nothing was changed since, not who made it; from the \
             maker's certificate: openssl x509 -in operator.crt -pubkey -noout > key.pem, then add --key key.pem"
        );
    }
    Ok(())
}

fn check(files: &Files, pinned: Option<&ModelPublicKey>) -> Result<Index, ReportFault> {
    let bad = |name: &str, why: &dyn std::fmt::Display| ReportFault::Bad {
        name: name.to_owned(),
        why: why.to_string(),
    };
    let get = |name: &str| files.get(name).ok_or_else(|| bad(name, &"is missing"));
    let text = |name: &str| std::str::from_utf8(get(name)?).map_err(|why| bad(name, &why));
    let own = ModelPublicKey::from_pem(text(PUBLIC_KEY)?).map_err(|why| bad(PUBLIC_KEY, &why))?;
    let envelope = Envelope::from_json(get(ENVELOPE)?).map_err(|why| bad(ENVELOPE, &why))?;
    let signed = envelope.verify(PAYLOAD_TYPE, pinned.unwrap_or(&own)).map_err(|why| bad(ENVELOPE, &why))?;
    if signed != get(INDEX)?.as_slice() {
        return Err(bad(INDEX, &"is not what was signed"));
    }
    // Before the rest, which a later format may say in its own way.
    let Numbered { format } = serde_json::from_slice(signed).map_err(|why| bad(INDEX, &why))?;
    if format != FORMAT {
        let format = printable(&format);
        let why = format!("has format {format:?}, this release reads {FORMAT:?}: install a newer release");
        return Err(bad(INDEX, &why));
    }
    let index: Index = serde_json::from_slice(signed).map_err(|why| bad(INDEX, &why))?;
    for (name, digest) in &index.files {
        if Digest::sha256(get(name)?) != *digest {
            return Err(bad(name, &"was changed"));
        }
    }
    let listed = |name: &str| name == INDEX || name == ENVELOPE || index.files.contains_key(name);
    if let Some(extra) = files.keys().find(|name| !listed(name)) {
        return Err(bad(extra, &"is not in the index"));
    }
    let (size, root) = audit_root(get(ENTRIES)?);
    if size != index.audit_size || hex::encode(root) != index.audit_root {
        return Err(bad(ENTRIES, &"does not give the root that the index names"));
    }
    let authority = Authority::from_canonical(text(AUTHORITY)?).map_err(|why| bad(AUTHORITY, &why))?;
    let signed: SignedRoster = serde_json::from_str(text(ROSTER)?).map_err(|why| bad(ROSTER, &why))?;
    let roster = signed.open(&authority.verifying_key()?).map_err(|why| bad(ROSTER, &why))?;
    let coordinator = roster.coordinator_key().map_err(|why| bad(ROSTER, &why))?;
    let mut chain = ChainVerifier::new(Some(coordinator));
    let manifests =
        files.keys().filter(|name| name.starts_with(CHECKPOINTS) && name.ends_with(MANIFEST_FILE));
    for name in manifests {
        let signature = name.replace(MANIFEST_FILE, SIGNATURE_FILE);
        let bytes = get(&signature)?.as_slice().try_into();
        let signature = bytes.map_err(|_| bad(&signature, &"is no signature"))?;
        let signed = SignedManifest { manifest_bytes: get(name)?.clone(), signature };
        chain.push(&signed).map_err(|why| bad(name, &with_causes(&why)))?;
    }
    Ok(index)
}

fn is_tar(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tar")
}

/// The same files give the same bytes: no clock, no owner.
fn pack(files: &Files) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes.as_slice())?;
    }
    archive.into_inner()
}

/// Nothing is unpacked to the disk: names in an archive are only names here.
fn unpack(file: &Path) -> Result<Files, ReportFault> {
    let unreadable = |why: std::io::Error| Unusable::new(file, format!("cannot be read: {why}"));
    let bad = |entry: &str, why| ReportFault::Entry { file: file.to_owned(), entry: entry.to_owned(), why };
    let mut archive = tar::Archive::new(fs::File::open(file).map_err(unreadable)?.take(BYTES_MAX));
    let mut files = Files::new();
    let mut left = BYTES_MAX;
    // Raw: as it was packed, without extensions that hold a name or holes that hold nothing.
    for entry in archive.entries().map_err(unreadable)?.raw(true) {
        let entry = entry.map_err(unreadable)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !entry.header().entry_type().is_file() {
            return Err(bad(&name, "is no plain file as `folkmoot incident report` packs them"));
        }
        let mut bytes = Vec::new();
        let read = entry.take(left + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        left = left.checked_sub(read as u64).ok_or_else(|| bad(&name, "makes it too large"))?;
        if files.insert(name.clone(), bytes).is_some() || files.len() > FILES_MAX {
            return Err(bad(&name, "is in it twice, or it has too many files"));
        }
    }
    Ok(files)
}

fn read_folder(folder: &Path) -> Result<Files, ReportFault> {
    let names = published::list_files(folder, &[])?;
    let read = |(name, _): (String, Digest)| {
        let path = folder.join(&name);
        let bytes = fs::read(&path).map_err(|why| Unusable::new(&path, why))?;
        Ok((name, bytes))
    };
    names.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests;
