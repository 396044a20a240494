//! Where the keyring does not open, a configuration says all that hangs on it.

use std::path::PathBuf;

use daemon::Configuration;
use plan::Problems;

daemon::tls_table! {
    /// With a secret key besides the one that all daemons have.
    pub struct Tls {
        /// Signs certificates.
        pub ca_key_file: PathBuf,
    }
}

daemon::configuration! {
    /// With nothing of its own.
    pub struct Config {}
}

#[test]
fn where_the_keyring_does_not_open_each_secret_under_it_is_named_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("daemon.toml");
    let text = "roster = 'r'\nauthority_key = 'a'\nidentity_key_file = 'own.key'\n[encryption]\n\
                master_key = { file = 'gone' }\n[tls]\nauthority = 'a'\ncertificate = 'c'\n\
                key_file = 'tls.key'\nca_key_file = 'ca.key'\n";
    std::fs::write(&file, text).unwrap();
    let (config, text) = daemon::load::<Config>(&file).unwrap();
    let mut problems = Problems::default();
    assert!(config.shared().open(&mut problems).is_none());
    let problems = problems.with_lines_of(&text);
    for (field, line, name) in [
        ("identity_key_file", 3, "own.key"),
        ("tls.key_file", 9, "tls.key"),
        ("tls.ca_key_file", 10, "ca.key"),
    ] {
        let path = folder.path().join(name);
        let text = format!("`{}`: it cannot be opened without the keyring", path.display());
        let named = problems.0.iter().find(|problem| problem.field == field);
        assert_eq!(named.map(|named| (named.line, &named.text)), Some((Some(line), &text)), "{problems}");
    }
}
