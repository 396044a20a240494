//! What auditors are shown of real runs: the modes' claims, the ledgers, the commitments to data, attacks on the chain.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use params::Digest;
use serde_json::{Value, json};

use super::{Coordinator, Running, demo, folkmoot, kept, rejoin, role, status_until, stderr, text};

/// What the program prints with `--json`.
pub(super) fn json(args: &[&str]) -> Value {
    let output = folkmoot(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The model card of a round.
fn card(folder: &Path, round: u64) -> card::Card {
    let file =
        folder.join("coordinator/checkpoints").join(checkpoint::folder_name(round)).join(card::CARD_FILE);
    card::Card::from_yaml(&fs::read_to_string(file).unwrap()).unwrap()
}

/// A run of the kept demonstration's plan anew, to its end, with silos that journal into `fresh`.
pub(super) fn run_again(folder: &Path, silos: u32, configured: impl Fn(u32, &str) -> String) {
    fs::remove_dir_all(folder.join("coordinator")).unwrap();
    let coordinator = Coordinator::start(&folder.join("coordinator.toml"));
    let daemons: Vec<Running> = (1..=silos)
        .map(|id| {
            let file = rejoin(folder, &format!("silo-{id}"), &coordinator.url);
            fs::write(&file, configured(id, &fs::read_to_string(&file).unwrap())).unwrap();
            Running(role("client", &file).spawn().unwrap())
        })
        .collect();
    status_until(&coordinator.url, |status| !status["ended"].is_null());
    drop(daemons);
}

/// What a silo's ledger opens, the commitment made again by hand from the run's nonce and the version that the ledger names.
fn opened(ledger: &Path) -> Vec<Digest> {
    let shown = json(&["ledger", "show", text(ledger)]);
    let versions = shown["runs"][0]["data_versions"].as_array().unwrap();
    let open = |one: &Value| {
        assert!(versions.contains(&one["version"]), "{shown}");
        let part = |name: &str| hex::decode(one[name].as_str().unwrap()).unwrap();
        let made = Digest::of("folkmoot/v2/data-version", &[&part("nonce"), &part("version")]);
        assert_eq!(one["commitment"], made.to_string());
        made
    };
    shown["runs"][0]["commitments"].as_array().unwrap().iter().map(open).collect()
}

#[test]
fn a_runs_card_carries_commitments_that_open_in_each_silos_folder_and_null_for_the_silo_that_tells_none() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    kept(folder);
    let held = card(folder, 2).sandboxes;
    assert_eq!(held.values().sum::<u64>(), 3, "each says how its trainers are held: {held:?}");
    let silos = card(folder, 2).training_data.silos;
    let mut declared: Vec<Digest> = silos.iter().flat_map(|silo| silo.data_versions.clone()).collect();
    assert_eq!(declared.len(), 3);
    for silo in &silos {
        let ledgers = folder.join(format!("silo-{}/state/ledger", silo.id));
        assert_eq!(opened(&ledgers), silo.data_versions);
        let salt = fs::metadata(ledgers.join("silo.salt")).unwrap();
        assert_eq!(salt.permissions().mode() & 0o777, 0o600);
    }
    assert!(card(folder, 0).training_data.silos.is_empty(), "nobody has trained the first model");

    run_again(folder, 3, |id, config| {
        if id == 2 { format!("tells_data_version = false\n{config}") } else { config.to_owned() }
    });
    for silo in card(folder, 2).training_data.silos {
        let ledgers = folder.join(format!("silo-{}/fresh/ledger", silo.id));
        let opens = opened(&ledgers);
        if silo.id == 2 {
            assert_eq!((silo.data_versions.len(), opens.len()), (0, 0));
            assert!(!ledgers.join("silo.salt").exists());
        } else {
            assert_eq!(opens, silo.data_versions);
            declared.extend(opens);
        }
    }
    declared.sort();
    declared.dedup();
    assert_eq!(declared.len(), 5, "each folder has a salt of its own: the same data is not recognised");
    let verified = folkmoot(&["verify", text(&folder.join("coordinator"))]);
    assert!(verified.status.success(), "{}", stderr(&verified));
}

/// Where a card's single values are, as JSON pointers.
fn values(card: &Value, at: &str, found: &mut Vec<String>) {
    match card {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, v)| values(v, &format!("{at}/{name}"), found))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(place, v)| values(v, &format!("{at}/{place}"), found));
        }
        _ => found.push(at.to_owned()),
    }
}

/// The card with another value in this place.
fn changed(card: &card::Card, at: &str) -> card::Card {
    let card = serde_json::to_value(card).unwrap();
    // What stands beside a kind depends on it: both become another's.
    let at = at.strip_suffix("/kind").unwrap_or(at);
    let other = match card.pointer(at).unwrap() {
        Value::Object(_) => {
            vec![json!({ "kind": "flatten" }), json!({ "kind": "positions", "length": 1, "width": 1 })]
        }
        Value::Bool(on) => vec![Value::from(!on)],
        Value::Number(number) if number.is_u64() => vec![Value::from(number.as_u64().unwrap() + 1)],
        Value::Number(number) => vec![Value::from(number.as_f64().unwrap() + 1.0)],
        // A text, a digest; where there is nothing, a figure too.
        _ => vec![Value::from("0".repeat(64)), Value::from(1.5)],
    };
    let with = |other: Value| {
        let mut card = card.clone();
        *card.pointer_mut(at).unwrap() = other;
        serde_json::from_value(card).ok()
    };
    other.into_iter().find_map(with).unwrap()
}

#[test]
fn whatever_is_changed_in_a_published_card_that_record_or_plan_tell_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    kept(folder);
    let (coordinator, plan) = (folder.join("coordinator"), folder.join("plan.json"));
    let here = coordinator.join("checkpoints").join(checkpoint::folder_name(2));
    let verify = || folkmoot(&["verify", text(&coordinator), "--plan", text(&plan)]);
    let publish = |card: &card::Card| {
        fs::write(here.join(card::CARD_FILE), card.to_yaml().unwrap()).unwrap();
        fs::write(here.join(card::README_FILE), card.readme().unwrap()).unwrap();
    };
    let genuine = card(folder, 2);
    let verified = verify();
    let said = String::from_utf8(verified.stdout).unwrap();
    assert!(
        verified.status.success() && said.contains("cards: 3 say what the records and the plan say"),
        "{said}"
    );

    let mut places = Vec::new();
    values(&serde_json::to_value(&genuine).unwrap(), "", &mut places);
    assert!(places.len() > 50, "{places:?}");
    for at in places {
        publish(&changed(&genuine, &at));
        let path: Vec<&str> =
            at.split('/').filter(|part| part.parse::<u64>().is_err() && !part.is_empty()).collect();
        let named = match path.join(".").as_str() {
            "training_data.silos.name" | "training_data.silos.data_versions" => None,
            "security.audit_log" | "security.metrics_endpoint" => Some("monitoring".to_owned()),
            _ if ["security", "metrics", "compliance"].contains(&path[0]) => None,
            // Of silos that say how their trainers are held there are no more than silos in the sum.
            _ if path[0] == "sandboxes" => Some("sandboxes".to_owned()),
            path => Some(path.to_owned()),
        };
        let output = verify();
        match named {
            None => assert!(output.status.success(), "{at}: {}", stderr(&output)),
            Some(field) => {
                // Another format is another release's, and nothing else in it is held against anything.
                let why = match field.as_str() {
                    "format" => "000002/model_card.yaml`: the card has format".to_owned(),
                    field => format!("000002/model_card.yaml`: the card's {field} is not what"),
                };
                assert!(
                    !output.status.success() && stderr(&output).contains(&why),
                    "{at}: {}",
                    stderr(&output)
                );
            }
        }
    }

    publish(&genuine);
    assert!(verify().status.success());
    let readme = here.join(card::README_FILE);
    let text = fs::read_to_string(&readme).unwrap();
    fs::write(&readme, format!("{text}No silo can be told apart.\n")).unwrap();
    let refused = verify();
    assert!(
        !refused.status.success() && stderr(&refused).contains("000002/README.md`: is not how"),
        "{}",
        stderr(&refused)
    );
    fs::write(&readme, text).unwrap();
    fs::remove_file(here.join(card::CARD_FILE)).unwrap();
    assert!(!verify().status.success(), "a README without its card");
}

/// A short run in this mode; its records, its silos' ledgers and its card say the same.
fn assert_claims_hold(mode: &str, unit: &str, noise_by: &str) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let result = demo(folder, &["--clients", "3", "--rounds", "2", "--keep", "--privacy", mode]);
    assert_eq!((&result["chain_verified"], &result["rounds"]), (&true.into(), &2.into()));
    assert_eq!(result["privacy_unit"], unit);
    let coordinator = folder.join("coordinator");
    let verified = folkmoot(&["verify", text(&coordinator)]);
    assert!(verified.status.success(), "{}", stderr(&verified));
    let spent = json(&["ledger", "show", text(&coordinator)]);
    assert_eq!(
        (&spent["mode"], &spent["unit"], &spent["noise_by"]),
        (&mode.into(), &unit.into(), &noise_by.into())
    );
    assert_eq!(spent["steps"], 2);
    let epsilon = spent["epsilon"].as_f64().unwrap();
    assert!(epsilon > 0.0 && result["epsilon"] == spent["epsilon"], "{spent}");
    for silo in 1..=3 {
        let ledger = folder.join(format!("silo-{silo}/state/ledger"));
        let shown = json(&["ledger", "show", text(&ledger)]);
        assert_eq!((&shown["total"]["debits"], &shown["runs"][0]["rounds"]), (&2.into(), &2.into()));
        assert_eq!(shown["runs"][0]["mode"], mode);
        assert_eq!(shown["runs"][0]["noise_by"], noise_by);
        let own = shown["total"]["epsilon"].as_f64().unwrap();
        assert!((own - epsilon).abs() < 1e-9, "the silo counts {own}, the chain {epsilon}");
        let whole = folkmoot(&["ledger", "verify", text(&ledger)]);
        assert!(whole.status.success(), "{}", stderr(&whole));
    }
    let privacy = card(folder, 2).privacy;
    assert_eq!((&*privacy.mode, &*privacy.unit, privacy.epsilon_spent), (mode, unit, Some(epsilon)));
}

#[test]
fn in_central_dp_fedavg_real_daemons_run_to_a_verified_chain_that_names_the_coordinator_as_who_adds_the_noise()
 {
    assert_claims_hold("central_dp_fedavg", "silo", "the coordinator, to the sum that it has opened");
}

#[test]
fn in_silo_dp_sgd_real_daemons_run_to_a_verified_chain_whose_epsilon_each_silo_has_debited() {
    assert_claims_hold("silo_dp_sgd", "record", "every silo, in full");
}

#[test]
fn a_clip_norm_that_moves_is_in_every_record_and_members_follow_it_to_a_verified_chain() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let result = demo(folder, &["--clients", "3", "--rounds", "4", "--keep", "--adaptive-clip"]);
    assert_eq!((&result["chain_verified"], &result["rounds"]), (&true.into(), &4.into()));
    let metric = |round: u64, name: &str| {
        let metrics = card(folder, round).metrics;
        metrics.into_iter().find(|metric| metric.name == name).map(|metric| metric.value)
    };
    let norms: Vec<f64> = (1..=4).map(|round| metric(round, "next_clip_norm").unwrap()).collect();
    assert!(metric(0, "next_clip_norm").is_none());
    for (round, pair) in norms.windows(2).enumerate() {
        let within = metric(round as u64 + 2, "noised_share_within_clip_norm").unwrap();
        let factor = (1.0 - 0.2 * (within - 0.5)).clamp(0.5, 2.0);
        assert!((pair[1] / pair[0] / factor - 1.0).abs() < 1e-12, "round {}: {norms:?}", round + 2);
        assert_ne!(pair[0], pair[1]);
    }
    // Does the server's step of every round again, its state with the clip norm included.
    let plan = folder.join("plan.json");
    let verified = folkmoot(&["verify", text(&folder.join("coordinator")), "--plan", text(&plan)]);
    assert!(verified.status.success(), "{}", stderr(&verified));
}

#[test]
fn in_both_modes_every_round_that_a_silo_is_in_stands_in_its_ledger_though_one_silo_is_killed() {
    for mode in ["central_dp_fedavg", "silo_dp_sgd"] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let rounds = ["--clients", "4", "--rounds", "4", "--kill-client-at-round", "2"];
        let result = demo(folder, &[&rounds[..], &["--keep", "--privacy", mode]].concat());
        assert_eq!((&result["rounds"], &result["chain_verified"]), (&4.into(), &true.into()));
        let spent = json(&["ledger", "show", text(&folder.join("coordinator"))]);
        let included: Vec<Vec<u32>> = (1..=4)
            .map(|round| {
                let folder = folder.join("coordinator/checkpoints").join(checkpoint::folder_name(round));
                let record = fs::read(folder.join(checkpoint::MANIFEST_FILE)).unwrap();
                checkpoint::Manifest::from_bytes(&record).unwrap().included
            })
            .collect();
        let named: BTreeSet<u32> = card(folder, 4).training_data.silos.iter().map(|silo| silo.id).collect();
        let ever: BTreeSet<u32> = included.iter().flatten().copied().collect();
        assert_eq!(named, ever, "{mode}: a silo that the last rounds missed is in the model all the same");
        assert!(included.iter().any(|silos| silos.len() < 4), "{mode}: nobody was missed: {included:?}");
        for silo in 1..=4 {
            let shown = json(&["ledger", "show", text(&folder.join(format!("silo-{silo}/state/ledger")))]);
            let debits = shown["total"]["debits"].as_u64().unwrap();
            let took_part = included.iter().filter(|silos| silos.contains(&silo)).count() as u64;
            // A round that asked for uploads and was aborted costs a silo too, and the run no less.
            assert!((took_part..=spent["steps"].as_u64().unwrap()).contains(&debits), "{mode}: {shown}");
            assert!(shown["total"]["epsilon"].as_f64() <= spent["epsilon"].as_f64(), "{mode}: {shown}");
        }
    }
}

/// The silo's table as a folder of tables, without every fifth row, which is held out.
fn with_canaries(folder: &Path) -> (PathBuf, PathBuf) {
    let data = folder.join("silo-1/data");
    fs::create_dir(&data).unwrap();
    let table = fs::read_to_string(folder.join("silo-1/silo.csv")).unwrap();
    let (head, rows) = table.split_once('\n').unwrap();
    let part = |held_out: bool| {
        let rows = rows.lines().enumerate().filter(|(index, _)| (index % 5 == 0) == held_out);
        let rows: String = rows.map(|(_, row)| format!("{row}\n")).collect();
        format!("{head}\n{rows}")
    };
    let (members, held_out) = (data.join("silo.csv"), folder.join("held-out.csv"));
    fs::write(&members, part(false)).unwrap();
    fs::write(&held_out, part(true)).unwrap();
    (members, held_out)
}

#[test]
fn a_chain_that_real_daemons_wrote_is_audited_with_canaries_and_its_claim_is_not_contradicted() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    kept(folder);
    let (members, held_out) = with_canaries(folder);
    let (plan, table, secret) =
        (folder.join("plan.toml"), folder.join("silo-1/data/canaries.csv"), folder.join("canaries.json"));
    let inserted = folkmoot(&[
        "audit-privacy",
        "insert",
        "--plan",
        text(&plan),
        "--table",
        text(&table),
        "--secret",
        text(&secret),
        "--canaries",
        "900",
    ]);
    let reach = String::from_utf8_lossy(&inserted.stdout);
    assert!(reach.contains("one that is given a single file does not read the canaries"), "{reach}");
    assert!(reach.contains("with 900 canaries, all guesses right show an epsilon above 4.9"), "{reach}");
    assert!(inserted.status.success(), "{}", stderr(&inserted));
    run_again(folder, 3, |id, config| {
        if id == 1 { config.replace("data = \"silo.csv\"", "data = \"data\"") } else { config.to_owned() }
    });
    let coordinator = folder.join("coordinator");
    let audit =
        ["audit-privacy", "run", text(&coordinator), "--plan", text(&plan), "--secret", text(&secret)];
    let with = ["--members", text(&members), "--held-out", text(&held_out)];
    let report = json(&[&audit[..], &with].concat());
    let spent = json(&["ledger", "show", text(&coordinator)]);
    assert_eq!(report["claim"]["epsilon"], spent["epsilon"], "what was spent, not what the plan allows");
    assert_eq!((&report["canaries"], &report["guesses"]), (&900.into(), &450.into()));
    let (bound, claimed) =
        (report["epsilon_lower_bound"].as_f64().unwrap(), report["claim"]["epsilon"].as_f64().unwrap());
    assert!(bound <= claimed && report["verdict"] == "not_contradicted", "{report}");
    let membership = &report["membership"];
    assert!(membership["members"].as_u64() > membership["others"].as_u64(), "{membership}");
    let auc = membership["auc"].as_f64().unwrap();
    assert!((0.3..0.7).contains(&auc), "two noised rounds tell members from others: {membership}");

    // Another plan's chain is not what the canaries were drawn for.
    let other = folder.join("other.toml");
    let text_of = fs::read_to_string(&plan).unwrap();
    fs::write(&other, text_of.replacen("rounds = 2", "rounds = 3", 1)).unwrap();
    let refused = folkmoot(&[
        "audit-privacy",
        "run",
        text(&coordinator),
        "--plan",
        text(&other),
        "--secret",
        text(&secret),
    ]);
    super::assert_refused(&refused, 2, &["plan"]);
}
