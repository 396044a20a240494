//! Files that others wrote: checkpoints, plans, rosters, tables.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use checkpoint::{
    ChainVerifier, Manifest, SignedManifest, model_bytes, public_key_text, read_layout, read_model,
};
use datasets::{Dataset, idx};
use identity::{IdentityKey, SignedRoster, parse_verifying_key};
use optim::State;
use params::Digest;
use plan::{Data, Plan, Policy};
use readers::Records;
use registration::{Colour, Dialect, FileKind, ImageForm};

use super::script::Script;
use super::seeds::signing_key;

pub(crate) fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::from_bytes(bytes) else { return };
    assert_eq!(manifest.to_bytes().expect("it was valid"), bytes, "one content, one spelling");
    let unsigned = SignedManifest { manifest_bytes: bytes.to_vec(), signature: [0; 64] };
    assert!(unsigned.verify_strict().is_err());
}

/// Manifests, a piece each, that the coordinator signs whatever they say. Odd first bytes let them name the
/// chain's head as their parent, which no mutation would hit.
pub(crate) fn chain(bytes: &[u8]) {
    let key = signing_key(99);
    let mut script = Script::new(bytes);
    let mut chain = ChainVerifier::new(Some(key.verifying_key()));
    while let Some(piece) = script.piece() {
        let Some((flags, text)) = piece.split_first() else { continue };
        let Ok(mut manifest) = serde_json::from_slice::<Manifest>(text) else { continue };
        manifest.public_key = public_key_text(&key.verifying_key());
        let before = chain.head().cloned();
        if flags & 1 == 1 {
            manifest.parent = chain.head_digest();
            manifest.parent_model = before.as_ref().map(|head| head.model.params_digest);
        }
        let Ok(signed) = SignedManifest::sign(&manifest, &key) else { continue };
        match chain.push(&signed) {
            Ok(accepted) => {
                assert_eq!(accepted, manifest);
                assert_eq!(chain.head_digest(), Some(signed.digest()));
                if let Some(before) = before {
                    assert!(accepted.round > before.round && accepted.privacy.steps >= before.privacy.steps);
                    assert_eq!(accepted.run_id, before.run_id);
                    assert_eq!(accepted.plan_digest, before.plan_digest);
                }
            }
            Err(_) => assert_eq!(chain.head(), before.as_ref(), "what is refused changes nothing"),
        }
    }
}

/// The first byte chooses: a whole file, or a header whose length is put in front of it, up to a zero, and data.
pub(crate) fn model_file(bytes: &[u8]) {
    let Some((mode, rest)) = bytes.split_first() else { return };
    let file = if mode & 1 == 0 {
        rest.to_vec()
    } else {
        let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
        let (header, data) = rest.split_at(end);
        [&(header.len() as u64).to_le_bytes(), header, data.get(1..).unwrap_or_default()].concat()
    };
    let Ok(layout) = read_layout(&file) else { return };
    let params = match read_model(&file, &layout) {
        Ok(params) => params,
        Err(why) => panic!("the file has its own layout: {why}"),
    };
    assert_eq!(params.values().len(), layout.len());
    let written = model_bytes(&params, &BTreeMap::new());
    let again = read_model(&written, &layout).expect("its own bytes");
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(again.values()), bits(params.values()));
    assert_eq!(read_layout(&written).expect("its own bytes"), layout);
}

pub(crate) fn optimizer_state(bytes: &[u8]) {
    if let Ok(state) = State::from_bytes(bytes) {
        assert_eq!(state.to_bytes(), bytes, "equal states have equal bytes");
    }
}

pub(crate) fn plan(bytes: &[u8]) {
    if let Ok(plan) = Plan::from_canonical(bytes) {
        assert_eq!(plan.to_canonical(), bytes);
        assert_usable(&plan);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(plan) = Plan::from_toml(text) {
        // As a person wrote it, and as `folkmoot plan sign` makes it.
        if plan.format.is_none() || plan.id.is_some() {
            assert_usable(&plan);
        }
        assert_usable(&plan.numbered([7; Plan::ID_BYTES]));
    }
}

/// What every party does with a plan that it has accepted.
fn assert_usable(plan: &Plan) {
    assert!(plan.validate().is_ok());
    assert_eq!(Plan::from_canonical(&plan.to_canonical()).expect("its own bytes"), *plan);
    assert_eq!(Plan::from_toml(&plan.to_toml()).expect("its own text").digest(), plan.digest());
    assert!(plan.lanes() >= plan.architecture().parameter_count());
    assert!(plan.mechanism().is_ok());
    assert_eq!(plan.budget().is_some(), plan.event().is_some());
    let strict = super::seeds::policy();
    if strict.check_unsigned(plan).is_ok() {
        assert!(plan.cohort.minimum >= strict.cohort_min && plan.cohort.honest_min >= strict.honest_min);
        assert!(
            plan.budget().is_none_or(|(epsilon, delta)| {
                epsilon <= strict.epsilon_max && delta <= strict.delta_max
            })
        );
    }
}

pub(crate) fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(policy) = Policy::from_toml(text) else { return };
    assert!(policy.validate().is_ok());
    assert!(policy.cohort_min >= 3 && policy.honest_min >= 2 && policy.corrupt_min >= 1);
    for plan in super::seeds::plans() {
        if policy.check_unsigned(&plan).is_ok() {
            assert!(policy.privacy_modes.contains(&plan.mode()));
            assert!(plan.budget().is_none_or(|(epsilon, _)| epsilon <= policy.epsilon_max));
        }
    }
}

/// A signed roster as a file, and one that the authority signed whatever it says.
pub(crate) fn roster(bytes: &[u8]) {
    let authority = IdentityKey::from_secret_hex(&hex::encode([100; 32])).expect("a key");
    if let Ok(signed) = serde_json::from_slice::<SignedRoster>(bytes)
        && let Ok(roster) = signed.open(&authority.public())
    {
        assert_eq!(roster.sign(&authority), signed);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(unchecked) = serde_json::from_str::<identity::Roster>(text) else { return };
    let signed = unchecked.sign(&authority);
    if let Ok(roster) = signed.open(&authority.public()) {
        assert_eq!(roster, unchecked);
        let keys = roster.member_keys().expect("it was opened");
        assert_eq!(keys.len(), roster.members.len());
        assert_eq!(roster.digest(), unchecked.digest());
        let stranger = IdentityKey::from_secret_hex(&hex::encode([101; 32])).expect("a key");
        assert!(signed.open(&stranger.public()).is_err());
    }
}

/// The small texts: public keys, secrets, digests, names of folders.
pub(crate) fn keys(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(key) = parse_verifying_key(text) {
        assert!(!key.is_weak());
        assert_eq!(parse_verifying_key(&public_key_text(&key)), Ok(key));
    }
    if let Ok(key) = IdentityKey::from_secret_hex(text) {
        let again = IdentityKey::from_secret_hex(&key.secret_hex()).expect("its own text");
        assert_eq!(again.public(), key.public());
        assert!(!format!("{key:?}").contains(key.secret_hex().as_str()));
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string().parse::<Digest>().ok(), Some(digest));
    }
    if let Some(round) = checkpoint::round_of_folder(text) {
        assert_eq!(checkpoint::folder_name(round), text, "one round, one folder");
    }
}

pub(crate) fn csv(bytes: &[u8]) {
    static TYPED: OnceLock<Data> = OnceLock::new();
    csv_of(bytes, &super::seeds::table());
    csv_of(bytes, TYPED.get_or_init(|| super::seeds::typed_plan().data));
}

fn csv_of(bytes: &[u8], data: &Data) {
    let (lenient, misfits) = Dataset::from_csv_leniently("silo.csv", bytes, data).expect("few rows");
    assert_eq!(lenient.features().len(), lenient.rows() * lenient.columns());
    let fitting = (0..lenient.rows()).filter(|row| lenient.fits(*row)).count();
    assert_eq!(lenient.rows() - fitting, misfits.rows() as usize, "each row fits, or is counted");
    assert!(misfits.to_string().len() <= 8 << 10);
    match Dataset::from_csv("silo.csv", bytes, data) {
        Ok(table) => {
            // Alone what nothing stands in is passed over here, and has a place there.
            assert_eq!(table.rows(), fitting, "{misfits}");
            assert!(misfits.rows() > 0 || lenient.version() == table.version());
            assert!(table.rows() > 0);
            assert_eq!(table.features().len(), table.rows() * table.columns());
            assert_eq!(table.columns(), data.width());
            assert!(table.labels().iter().all(|label| usize::from(*label) < data.classes.count()));
            let [low, high] = data.scaled_to;
            assert!(table.features().iter().all(|x| (low as f32..=high as f32).contains(x)));
            let again = Dataset::from_csv("again.csv", bytes, data).expect("the same bytes");
            assert_eq!(again.version(), table.version());
        }
        Err(why) => {
            assert!(!misfits.is_empty());
            let shown = why.to_string();
            assert!(shown.len() <= 2 << 10, "a refusal of {} bytes", shown.len());
        }
    }
}

/// The first byte chooses how the rest is written.
pub(crate) fn records(bytes: &[u8]) {
    let Some((flags, file)) = bytes.split_first() else { return };
    let is = |bit: u8| flags >> bit & 1 == 1;
    let encoding = ["utf-8", "windows-1252", "utf-16le", "shift_jis"][usize::from(flags >> 6)];
    let dialect = Dialect {
        separator: if is(0) { ";" } else { "," }.into(),
        quote: if is(1) { "" } else { "\"" }.into(),
        line_breaks: is(2),
        trim: is(3),
        header: !is(4),
        columns: if is(4) { vec!["a".into(), "b".into()] } else { Vec::new() },
        comment: if is(5) { "#" } else { "" }.into(),
        encoding: encoding.into(),
        ..Dialect::default()
    };
    let mut records = match Records::new(file, &dialect) {
        Ok(records) => records,
        Err(why) => {
            let shown = why.to_string();
            assert!(shown.len() <= 2 << 10, "a refusal of {} bytes", shown.len());
            return;
        }
    };
    let width = records.names().len();
    let mut line = records.header_line().unwrap_or(0);
    while let Some(record) = records.next_record().expect("it is in memory") {
        assert!(record.line > line, "each on a line of its own, in their order");
        line = record.line;
        if let Ok(cells) = record.cells {
            assert_eq!(cells.len(), width);
            assert!((0..width).all(|index| cells.get(index).is_some()));
        }
    }
    assert!(line <= file.len() as u64 + 1, "no more lines than bytes");
}

/// A Parquet file, and all of its first columns.
pub(crate) fn parquet(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.parquet");
    std::fs::write(&path, bytes).expect("a file");
    let dialect = Dialect { kind: FileKind::Parquet, ..Dialect::default() };
    let read = Records::open(&path, &dialect).and_then(|mut records| {
        let width = records.names().len();
        let asked: Vec<usize> = (0..width).filter(|column| records.select(&[*column]).is_ok()).collect();
        records.select(&asked)?;
        let mut rows = 0;
        // A few bytes can stand for many rows that are alike.
        while let (Some(record), true) = (records.next_record()?, rows < 4096) {
            rows += 1;
            assert_eq!(record.line, rows);
            if let Ok(cells) = record.cells {
                assert_eq!(cells.len(), width);
                assert!((0..width).all(|column| cells.get(column).is_some()));
            }
        }
        Ok(())
    });
    if let Err(why) = read {
        assert!(why.to_string().len() <= 2 << 10, "a refusal that is too long: {why}");
    }
}

/// A PNG or JPEG of 16 by 8, as the only image of its class.
pub(crate) fn images(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let class = folder.path().join("class");
    std::fs::create_dir(&class).expect("a folder");
    std::fs::write(class.join("a.png"), bytes).expect("a file");
    let image = Some(ImageForm { width: 16, height: 8, colour: Colour::Rgb });
    let dialect = Dialect { kind: FileKind::Images, image, ..Dialect::default() };
    let mut records = Records::open(folder.path(), &dialect).expect("there is one by its name");
    let record = records.next_record().expect("its folder is there").expect("it has a place");
    match record.cells {
        Ok(cells) => {
            assert_eq!(cells.get(3 * 128).as_deref(), Some("class"));
            let is_pixel = |column| cells.get(column).is_some_and(|cell| cell.parse::<u8>().is_ok());
            assert!((0..3 * 128).all(is_pixel));
        }
        Err(why) => assert!(why.to_string().len() <= 2 << 10, "a refusal that is too long: {why}"),
    }
    assert!(records.next_record().expect("its folder is there").is_none());
}

/// Labels, a piece, and images. Of labels that are plain, the pixels that gzip may unpack are a small multiple.
pub(crate) fn idx(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let Some(labels) = script.piece() else { return };
    let data = idx::data_section(4, 3, [0.0, 1.0]);
    match idx::read(script.rest(), labels, &data) {
        Ok(table) => {
            let pixels: Vec<u8> = table.features().iter().map(|x| (x * 255.0).round() as u8).collect();
            let classes: Vec<u8> = table.labels().iter().map(|label| *label as u8).collect();
            let labels = super::seeds::idx_file(0x0801, &[table.rows() as u32], &classes);
            let images = super::seeds::idx_file(0x0803, &[table.rows() as u32, 2, 2], &pixels);
            let again = idx::read(&images[..], &labels[..], &data).expect("its own numbers");
            assert_eq!(again.version(), table.version());
            assert_eq!(table.features().len(), table.rows() * table.columns());
        }
        Err(why) => {
            let shown = why.to_string();
            assert!(shown.len() <= 2 << 10, "a refusal of {} bytes", shown.len());
        }
    }
}
