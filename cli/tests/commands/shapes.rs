//! What programs read: the shape of every list in JSON.

use published::samples;
use serde_json::Value;

use super::*;
use crate::program::folkmoot;

/// A value's fields with their kinds; of an array the shape of its first.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "text".into(),
        Value::Array(all) => format!("[{}]", all.first().map_or_else(String::new, shape)),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name}: {}", shape(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

#[test]
fn every_list_has_its_json_and_a_moment_in_it_is_in_milliseconds() {
    let federation = Federation::new();
    let (north, _) = (federation.ask("north"), federation.ask("south"));
    let approve = "clients approve north --as @admin --authority @authority --fingerprint";
    federation.run(&format!("{approve} {north}")).unwrap();
    federation.run("clients revoke north --reason odd --as @admin").unwrap();
    federation.run("incident open --title odd --as @admin").unwrap();
    federation.run("incident note INC-0001 paused --as @admin").unwrap();
    for (line, expected) in [
        (
            "clients list",
            "[{connected: bool, fingerprint: text, id: number, identity_key: text, name: text, state: text}]",
        ),
        ("tokens list", "[{expires_ms: number, id: text, purpose: text, state: text}]"),
        ("access list", "[{by: text, kind: text, name: text, reason: text, time_ms: number, whom: text}]"),
        (
            "incident list",
            "[{closed_ms: null, id: text, notes: [{by: text, text: text, time_ms: number}], opened_by: text, opened_ms: number, title: text}]",
        ),
        (
            "roster show",
            "{coordinator_key: text, digest: text, epoch: number, federation: text, members: [{fingerprint: text, id: number, identity_key: text, name: text, since_epoch: number}]}",
        ),
        ("doctor", "[{detail: text, ok: bool, remedy: null, step: text}]"),
    ] {
        let ended = federation.answer(&format!("{line} --as admin --json"), "");
        assert_eq!(ended.code, 0, "{line}: {}", ended.err);
        assert_eq!(shape(&serde_json::from_str(&ended.out).unwrap()), expected, "{line}");
    }
    let text = federation.answer("access list --as admin", "").out;
    assert!(text.contains("Z  barred     silo 1 north  by ada: odd"), "{text}");
}

#[test]
fn a_chain_and_a_version_of_it_are_verified_for_programs_too() {
    let chain = samples::chain(|_| {});
    let ended = folkmoot(chain.path(), "verify . --json", "");
    assert_eq!(ended.code, 0, "{}", ended.err);
    let shown: Value = serde_json::from_str(&ended.out).unwrap();
    let summary =
        "{cards: number, evidence: null, head: text, key_pinned: bool, model_sha256: text, records: [";
    assert!(shape(&shown).starts_with(summary), "{}", shape(&shown));
    let rounds: Vec<_> =
        shown["records"].as_array().unwrap().iter().map(|record| record["round"].as_u64().unwrap()).collect();
    assert_eq!((rounds, &shown["rounds"]), (vec![0, 1, 3], &Value::from(2)));

    // As `model fetch --bundle` writes it.
    let version = chain.path().join("checkpoints/000003");
    let key = hex::encode(samples::key().verifying_key().as_bytes());
    let ended = folkmoot(&version, &format!("verify . --json --key {key}"), "");
    assert_eq!(ended.code, 0, "{}", ended.err);
    let shown: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&shown["record"]["round"], &shown["key_pinned"]), (&Value::from(3), &Value::from(true)));
    let other = hex::encode(IdentityKey::from_secret_hex(&hex::encode([9; 32])).unwrap().public().as_bytes());
    let ended = folkmoot(&version, &format!("verify . --key {other}"), "");
    assert_eq!(ended.code, program::VERIFICATION, "{}", ended.err);
    fs::write(version.join("model.safetensors"), "other").unwrap();
    assert_eq!(folkmoot(&version, "verify .", "").code, program::VERIFICATION);
}
