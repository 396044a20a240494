//! The repository as the tests read it.

use std::fs;
use std::path::{Path, PathBuf};

use toml::Table;

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
