//! What the lock file and the manifests may not say, without a tool that must be installed.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::faults::gather;
use crate::tree;

fn table(path: &str) -> Table {
    toml::from_str(&tree::read(path).unwrap()).unwrap()
}

#[test]
fn what_carries_keys_masks_or_bytes_from_peers_is_there_in_one_version() {
    let lock = table("Cargo.lock");
    let packages = lock["package"].as_array().unwrap();
    let names: Vec<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    let denied = table("deny.toml");
    let denied = denied["bans"]["deny"].as_array().unwrap();
    let (mut single, mut absent) = (0, 0);
    gather(|faults| {
        for ban in denied {
            let name = ban["crate"].as_str().unwrap();
            let most = usize::from(ban.get("deny-multiple-versions").is_some());
            let versions = names.iter().filter(|locked| **locked == name).count();
            faults.unless(versions == most, || format!("{versions} versions of {name} in Cargo.lock"));
            if most == 1 { single += 1 } else { absent += 1 }
        }
    });
    assert!(single > 10 && absent > 2, "{single} and {absent}");
}

#[test]
fn no_dependency_is_taken_in_any_version() {
    let mut found = BTreeSet::new();
    let root = table("Cargo.toml");
    let shared = root["workspace"]["dependencies"].as_table().unwrap();
    let crates = tree::crates();
    let own = crates.iter().flat_map(|a_crate| {
        let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
        kinds.into_iter().filter_map(|kind| a_crate.manifest.get(kind)?.as_table()).flatten()
    });
    gather(|faults| {
        for (name, settings) in shared.iter().chain(own) {
            let version = settings.as_str().or_else(|| settings.get("version").and_then(Value::as_str));
            let here = ["path", "workspace"].iter().any(|key| settings.get(key).is_some());
            faults.unless(here || version.is_some_and(|version| !version.contains('*')), || {
                format!("{name}: {settings}")
            });
            found.insert(name.clone());
        }
    });
    assert!(found.len() > 40, "{}", found.len());
}
