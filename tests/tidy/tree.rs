//! The repository as the tests read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use toml::Table;

/// What each crate of the workspace links or builds with, and the features that it asks for.
type Dependencies = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// One file's text.
pub(crate) struct File {
    /// Relative to the repository, with forward slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// One crate of the workspace.
pub(crate) struct Crate {
    /// Relative to the repository.
    pub(crate) folder: String,
    pub(crate) name: String,
    pub(crate) manifest: Table,
}

/// Every file with this extension under `folder`, sorted by path; build outputs and hidden folders are no part of
/// the tree.
pub(crate) fn files(folder: &str, extension: &str) -> Vec<File> {
    let mut paths = Vec::new();
    collect(&root().join(folder), &mut paths);
    paths.sort();
    let wanted = paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == extension));
    wanted.map(|path| File { path: relative(&path), text: fs::read_to_string(&path).unwrap() }).collect()
}

/// Every crate of the workspace but these tests, which may use anything.
pub(crate) fn crates() -> Vec<Crate> {
    let manifests = files("", "toml").into_iter().filter_map(|file| {
        let folder = file.path.strip_suffix("/Cargo.toml")?.to_owned();
        let manifest: Table = toml::from_str(&file.text).unwrap();
        let name = manifest["package"]["name"].as_str().unwrap().to_owned();
        Some(Crate { folder, name, manifest })
    });
    manifests.filter(|a_crate| !a_crate.folder.starts_with("tests")).collect()
}

/// What each crate but these tests links or builds with unless a feature is asked for, as cargo reads the manifests.
pub(crate) fn dependencies() -> &'static Dependencies {
    static READ: OnceLock<Dependencies> = OnceLock::new();
    READ.get_or_init(|| {
        let said = cargo(&["metadata", "--no-deps", "--offline", "--format-version", "1"]);
        let metadata: Value = serde_json::from_str(&said).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let named = packages.iter().map(|package| (text(&package["name"]), linked(package)));
        named.filter(|(name, _)| name != "tests").collect()
    })
}

/// Edges between crates of the workspace.
pub(crate) fn edges() -> &'static BTreeMap<String, BTreeSet<String>> {
    static READ: OnceLock<BTreeMap<String, BTreeSet<String>>> = OnceLock::new();
    READ.get_or_init(|| {
        let all = dependencies();
        let inside = |used: &BTreeMap<String, Vec<String>>| {
            used.keys().filter(|name| all.contains_key(*name)).cloned().collect()
        };
        all.iter().map(|(name, used)| (name.clone(), inside(used))).collect()
    })
}

/// Every package that is compiled for this crate without its features: name, version and, of ours, its folder.
pub(crate) fn compiled_for(name: &str) -> BTreeSet<String> {
    let listed =
        cargo(&["tree", "--offline", "-p", name, "-e", "normal,build", "--prefix", "none", "--no-dedupe"]);
    listed.lines().map(|line| line.replace(" (proc-macro)", "")).collect()
}

fn cargo(asked: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(asked).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn linked(package: &Value) -> BTreeMap<String, Vec<String>> {
    let all = package["dependencies"].as_array().unwrap().iter();
    // An arrow between our crates is one, behind a feature too.
    let wanted =
        all.filter(|used| used["kind"] != "dev" && (used["optional"] == false || used["source"].is_null()));
    let features = |used: &Value| used["features"].as_array().unwrap().iter().map(text).collect();
    wanted.map(|used| (text(&used["name"]), features(used))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A file of the repository, where it exists.
pub(crate) fn read(path: &str) -> Option<String> {
    fs::read_to_string(root().join(path)).ok()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/")
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() { collect(&path, paths) } else { paths.push(path) }
    }
}
