//! A published folder as its signature sees it: every regular file by path and digest.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use checkpoint::MODEL_BYTES_MAX;
use params::Digest;

/// More than any checkpoint has; a folder with more is not the one that was meant.
const FILES_MAX: usize = 10_000;

/// Why a folder is none that a signature could be of.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// Nothing is there, or a file.
    #[error("`{}`: is no folder; name that of a checkpoint", dir.display())]
    NoFolder { dir: PathBuf },
    /// The disk refuses.
    #[error("`{}`: cannot be read: {why}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        why: io::Error,
    },
    /// What no signature can cover.
    #[error(
        "`{}`: {why}, which a model's signature does not cover; remove it, or copy the folder again",
        path.display()
    )]
    Unsignable {
        path: PathBuf,
        /// What it is.
        why: String,
    },
    /// Another folder than was meant.
    #[error("`{}`: has more than {most} files", folder.display())]
    TooMany {
        folder: PathBuf,
        /// Files that it may have.
        most: usize,
    },
}

/// Every regular file below `dir` by its path with `/`, in the order of code points, but for the paths in
/// `ignore` with all below them.
///
/// To verify, ignore nothing here: what a bundle leaves out is for the signed list in it to say.
///
/// # Errors
/// [`ListingError::Unsignable`] for a symbolic link, a socket or the like, a name that is not UTF-8, and the others.
pub fn list_files(dir: &Path, ignore: &[&str]) -> Result<Vec<(String, Digest)>, ListingError> {
    listed(dir, ignore, |bytes| Digest::sha256(&bytes))
}

/// As [`list_files`], with the bytes of each file in the place of their digest.
pub(crate) fn read_listed(dir: &Path, ignore: &[&str]) -> Result<Vec<(String, Vec<u8>)>, ListingError> {
    listed(dir, ignore, |bytes| bytes)
}

/// The files, and what `kept` keeps of each one's bytes.
fn listed<T>(dir: &Path, ignore: &[&str], kept: fn(Vec<u8>) -> T) -> Result<Vec<(String, T)>, ListingError> {
    let read = |(name, path): (String, PathBuf)| {
        let bytes = fs::read(&path).map_err(|why| unreadable(&path, why))?;
        Ok((name, kept(bytes)))
    };
    list_paths(dir, ignore, FILES_MAX)?.into_iter().map(read).collect()
}

/// As [`list_files`], unread, each with its place on the disk; at most so many.
pub(crate) fn list_paths(
    dir: &Path,
    ignore: &[&str],
    most: usize,
) -> Result<Vec<(String, PathBuf)>, ListingError> {
    // A link is followed where the user names it, never below.
    if !dir.is_dir() {
        return Err(ListingError::NoFolder { dir: dir.to_owned() });
    }
    let mut files = Vec::new();
    collect(dir, "", ignore, most, &mut files)?;
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(files)
}

fn collect(
    folder: &Path,
    prefix: &str,
    ignore: &[&str],
    most: usize,
    files: &mut Vec<(String, PathBuf)>,
) -> Result<(), ListingError> {
    for entry in fs::read_dir(folder).map_err(|why| unreadable(folder, why))? {
        let entry = entry.map_err(|why| unreadable(folder, why))?;
        let path = entry.path();
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            return Err(unsignable(&path, "its name is not UTF-8"));
        };
        let name = format!("{prefix}{name}");
        if ignore.contains(&name.as_str()) {
            continue;
        }
        // The entry's own type: a link is not followed.
        let kind = entry.file_type().map_err(|why| unreadable(&path, why))?;
        if kind.is_dir() {
            collect(&path, &format!("{name}/"), ignore, most, files)?;
        } else if kind.is_file() {
            let length = entry.metadata().map_err(|why| unreadable(&path, why))?.len();
            if length > MODEL_BYTES_MAX {
                return Err(unsignable(&path, &format!("has {length} bytes, more than {MODEL_BYTES_MAX}")));
            }
            files.push((name, path));
            if files.len() > most {
                return Err(ListingError::TooMany { folder: folder.to_owned(), most });
            }
        } else {
            let what = if kind.is_symlink() { "a symbolic link" } else { "no regular file" };
            return Err(unsignable(&path, &format!("is {what}")));
        }
    }
    Ok(())
}

fn unsignable(path: &Path, why: &str) -> ListingError {
    ListingError::Unsignable { path: path.to_owned(), why: why.to_owned() }
}

fn unreadable(path: &Path, why: io::Error) -> ListingError {
    ListingError::Unreadable { path: path.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A folder with an empty file at each path.
    fn folder(paths: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for path in paths {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        folder
    }

    fn names(folder: &Path, ignore: &[&str]) -> Vec<String> {
        list_files(folder, ignore).unwrap().into_iter().map(|(name, _)| name).collect()
    }

    fn refused(folder: &Path) -> String {
        match list_files(folder, &[]) {
            Err(why @ ListingError::Unsignable { .. }) => why.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_file_is_listed_in_the_order_of_code_points_and_no_folder() {
        let here = folder(&["a/b", "a-b", ".hidden", "Z", "naïve", "a/c/d"]);
        fs::create_dir(here.path().join("empty")).unwrap();
        assert_eq!(names(here.path(), &[]), [".hidden", "Z", "a-b", "a/b", "a/c/d", "naïve"]);
    }

    #[test]
    fn digests_are_those_of_the_contents() {
        let here = folder(&["a", "b"]);
        fs::write(here.path().join("b"), b"abc").unwrap();
        let expected = [("a".to_owned(), Digest::sha256(b"")), ("b".to_owned(), Digest::sha256(b"abc"))];
        assert_eq!(list_files(here.path(), &[]).unwrap(), expected);
    }

    #[test]
    fn ignored_paths_are_left_out_at_their_place_alone_with_all_below_them() {
        let here =
            folder(&[".git/HEAD", ".gitignore", "a/.git/HEAD", "a/model.sig", "model.sig", "model.sig2"]);
        let found = names(here.path(), &[".git", "model.sig"]);
        assert_eq!(found, [".gitignore", "a/.git/HEAD", "a/model.sig", "model.sig2"]);
    }

    #[test]
    fn a_symbolic_link_is_refused_wherever_it_leads() {
        let target = folder(&["file", "folder/file"]);
        for (name, target) in [
            ("file", target.path().join("file")),
            ("folder", target.path().join("folder")),
            ("nowhere", target.path().join("nowhere")),
        ] {
            let here = folder(&["a/file"]);
            symlink(target, here.path().join("a").join(name).with_extension("link")).unwrap();
            let why = refused(here.path());
            assert!(why.contains(".link`: is a symbolic link"), "{why}");
        }
    }

    #[test]
    fn a_socket_and_a_name_that_is_not_utf_8_are_refused() {
        let here = folder(&["a"]);
        let socket = here.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        assert!(refused(here.path()).contains("no regular file"));
        fs::remove_file(socket).unwrap();
        fs::write(here.path().join(OsStr::from_bytes(b"\xff")), b"").unwrap();
        assert!(refused(here.path()).contains("not UTF-8"));
    }

    #[test]
    fn a_file_longer_than_any_model_is_refused_unread() {
        let here = folder(&["a"]);
        let file = fs::File::options().write(true).open(here.path().join("a")).unwrap();
        // A hole: it takes no room, and reading it would take all memory.
        file.set_len(MODEL_BYTES_MAX + 1).unwrap();
        assert!(refused(here.path()).contains("more than"));
    }

    #[test]
    fn what_is_no_folder_is_named() {
        let here = folder(&["a"]);
        for path in [here.path().join("a"), here.path().join("b")] {
            let why = list_files(&path, &[]).unwrap_err();
            assert!(why.to_string().contains("is no folder"), "{why}");
        }
    }
}
