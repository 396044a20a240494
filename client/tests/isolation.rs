//! Which paths a daemon keeps, by its configuration, and what of that cannot be kept apart from the data.

use std::path::Path;

use client::Config;
use sandbox::{Demand, SealError, ShutOut};

/// A configuration whose folder is `AT`.
const PLAIN: &str = "coordinator = 'http://localhost:1'\nclient_id = 1\ndata = 'AT/silo.csv'\nstate_dir = 'AT/state'\n\
                     roster = 'r'\nauthority_key = 'a'\nidentity_key_file = 'k'\nplaintext = true\n";
const POLICY: &str = "[policy]\ncohort_min = 3\nhonest_min = 2\ncorrupt_min = 1\nepsilon_max = 1.0\ndelta_max = 1e-5\n\
                      privacy_modes = []\nauthors = []\n";

/// What a daemon with this configuration in a folder keeps.
fn kept(folder: &Path, text: &str) -> ShutOut {
    let file = folder.join("client.toml");
    let text = format!("{text}{POLICY}").replace("AT", folder.to_str().unwrap());
    std::fs::write(&file, text).unwrap();
    for made in ["tls", "secrets", "far"] {
        std::fs::create_dir_all(folder.join(made)).unwrap();
    }
    std::fs::write(folder.join("silo.csv"), "a\n1\n").unwrap();
    let (config, _) = daemon::load::<Config>(&file).unwrap();
    config.shut_out(Some(&file), Path::new("/usr/bin/folkmoot-trainer")).unwrap()
}

#[test]
fn a_daemon_keeps_its_configuration_its_state_its_ledger_and_the_folder_of_its_anchor() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let ledger = "ledger = { dir = 'AT/shared/ledger', anchor = 'AT/far/anchor' }\n";
    let what = kept(folder.path(), &format!("{PLAIN}{ledger}"));
    assert_eq!((&*what.data, &*what.read), (&[at("silo.csv")][..], &[at("client.toml")][..]));
    assert_eq!(what.write, [at("state"), at("shared/ledger"), at("far")]);
    assert!(at("state").is_dir() && at("shared/ledger").is_dir(), "made while that can still be done");
    what.check(Demand::Required).unwrap();
}

#[test]
fn data_lies_beside_no_keyring_that_is_followed_and_no_certificate_that_is_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let tls = "[tls]\nauthority = 'a'\ncertificate = 'tls/c'\nkey_file = 'tls/k'\n";
    let encryption = "[encryption]\nmaster_key = { file = 'secrets/m' }\n";

    let what = kept(folder.path(), &format!("{PLAIN}{tls}{encryption}"));
    assert_eq!(
        (&*what.write, &*what.follow),
        (&[at("state"), at("tls"), at("tls")][..], &[folder.path().to_owned()][..])
    );
    assert_eq!(what.read, [at("client.toml"), at("secrets")]);
    let why = what.check(Demand::Required).unwrap_err();
    assert!(matches!(why, SealError::DataInside { .. }), "{why}");
    assert!(why.to_string().contains("move that to a folder"), "{why}");

    kept(folder.path(), &format!("{PLAIN}{tls}")).check(Demand::Required).unwrap();
    let beside = kept(folder.path(), &format!("{PLAIN}{}", tls.replace("tls/", "")));
    assert!(matches!(beside.check(Demand::Required), Err(SealError::DataInside { .. })));
    let elsewhere = PLAIN.replace("'AT/silo.csv'", "'/nowhere/silo.csv'");
    kept(folder.path(), &format!("{elsewhere}{tls}{encryption}")).check(Demand::Required).unwrap();
}

#[test]
fn what_says_how_a_daemon_is_held_and_what_trains_for_it_lie_nowhere_that_it_writes() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = PLAIN.replace("'AT/silo.csv'", "'/nowhere/silo.csv'");
    let refused = |more: &str| {
        let why = kept(folder.path(), &format!("{elsewhere}{more}")).check(Demand::Required).unwrap_err();
        assert!(matches!(why, SealError::FixedInside { .. }), "{why}");
        why.to_string()
    };
    let why = refused("[tls]\nauthority = 'a'\ncertificate = 'c'\nkey_file = 'k'\n");
    assert!(why.contains("client.toml`") && why.contains("to a folder of its own"), "{why}");
    let why = refused("[trainer]\nprogram = 'AT/state/own'\n");
    assert!(why.contains("state/own`"), "{why}");
    kept(folder.path(), &format!("{elsewhere}[trainer]\nprogram = 'AT/own'\n"))
        .check(Demand::Required)
        .unwrap();
}

#[test]
fn no_key_of_a_silo_lies_in_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let tls = "[tls]\nauthority = 'a'\ncertificate = 'tls/c'\nkey_file = 'AT/rows/t'\n";
    let encryption = "[encryption]\nmaster_key = { file = 'AT/rows/m' }\n";
    let proxy = "proxy = 'http://p:1'\nproxy_auth_file = 'AT/rows/p'\n";
    let elsewhere = PLAIN.replace("silo.csv", "rows");
    kept(folder.path(), &elsewhere).check(Demand::Required).unwrap();
    let identity = elsewhere.replace("'k'", "'AT/rows/k'");
    for (text, secret) in [
        (identity, "rows/k"),
        (format!("{elsewhere}{proxy}"), "rows/p"),
        (format!("{elsewhere}{tls}"), "rows/t"),
        (format!("{elsewhere}{encryption}"), "rows/m"),
    ] {
        for demand in [Demand::Required, Demand::BestEffort] {
            let why = kept(folder.path(), &text).check(demand).unwrap_err();
            assert!(
                matches!(&why, SealError::SecretInData { secret: at, .. } if at.ends_with(secret)),
                "{why}"
            );
        }
    }
}
