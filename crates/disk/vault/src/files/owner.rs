//! Whose a new file is: of whoever owns the folder that it is made in, also where root makes it.
//!
//! A command that an administrator gives as root writes into a folder of a daemon's, and the daemon, which is another user, has to
//! read what it finds there. Nothing is changed that exists already, and no name is followed: a folder's owner could have put
//! another file there.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::process::geteuid;

use super::{FOLDER_OWNER_ONLY, parent};

const ROOT: u32 = 0;

/// A user and a group.
type Owner = (u32, u32);

/// Opens a file with these options, and makes it where it is not there; then it is its folder's owner's, with this mode less what
/// the umask takes.
///
/// # Errors
/// A file that can neither be opened nor made; a link that leads nowhere.
pub fn open_or_make(path: &Path, options: &OpenOptions, mode: u32) -> io::Result<File> {
    match options.clone().create_new(true).mode(mode).open(path) {
        Ok(made) => give_to_folders_owner(made, path),
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => options.open(path),
        Err(why) => Err(why),
    }
}

/// Makes a folder and those above it that are missing, each as its parent's owner's, who alone looks into it: they are for keys, for
/// what a daemon remembers, and for what it has published to those whom it knows.
///
/// # Errors
/// What stands in the way: a file, or a disk that fails.
pub fn make_folders(path: &Path) -> io::Result<()> {
    make_folders_as(path, FOLDER_OWNER_ONLY)
}

/// As [`make_folders`], with this mode less what the umask takes.
pub(crate) fn make_folders_as(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = parent(path);
    if above != path {
        make_folders_as(above, mode)?;
    }
    match make_folder(path, mode) {
        // Another process was faster.
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}

/// Makes one folder, as its parent's owner's, with this mode less what the umask takes.
///
/// # Errors
/// Something that is there ([`io::ErrorKind::AlreadyExists`]); a disk that fails.
pub fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new().mode(mode).create(path)?;
    let as_it_lies = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed();
    let open = || OpenOptions::new().read(true).custom_flags(as_it_lies).open(path);
    match heir_of(path)? {
        None => Ok(()),
        Some(heir) => give(&open()?, heir),
    }
}

/// Who a file is given to that was made in this folder, where that is somebody else than its maker: only root gives files away.
fn heir(maker: u32, folder: Owner) -> Option<Owner> {
    (maker == ROOT && folder.0 != ROOT).then_some(folder)
}

fn heir_of(path: &Path) -> io::Result<Option<Owner>> {
    let folder = fs::metadata(parent(path))?;
    Ok(heir(geteuid().as_raw(), (folder.uid(), folder.gid())))
}

/// Gives a file that this process has just made to whoever owns its folder; takes it away where that cannot be found out.
pub(super) fn give_to_folders_owner(made: File, path: &Path) -> io::Result<File> {
    let given = heir_of(path).and_then(|heir| heir.map_or(Ok(()), |heir| give(&made, heir)));
    // The failure is what is reported.
    given.inspect_err(|_| drop(fs::remove_file(path)))?;
    Ok(made)
}

/// Where it cannot be given, as on a file system that knows no owners or in a container without the right, it stays its maker's.
fn give(made: &File, (user, group): Owner) -> io::Result<()> {
    match fchown(made, Some(user), Some(group)) {
        Err(why) if matches!(why.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        given => given,
    }
}

/// Gives a file exactly this mode, whatever the process's umask.
pub(super) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;
    use crate::NewFolder;
    use crate::files::{NewFile, OWNER_ONLY, put, put_new, replace, replace_exactly, write_new};

    #[test]
    fn root_gives_what_it_makes_to_the_owner_of_the_folder_and_nobody_else_gives_anything() {
        assert_eq!(heir(ROOT, (998, 997)), Some((998, 997)));
        assert_eq!(heir(ROOT, (ROOT, 5)), None);
        assert_eq!(heir(998, (1000, 1000)), None);
        assert_eq!(heir(998, (998, 998)), None);
    }

    #[test]
    fn whatever_is_made_in_a_folder_is_its_owners() {
        let here = tempfile::tempdir().unwrap();
        let place = |name: &str| here.path().join(name);
        // Root has another user's folder here, and everybody else their own.
        let own = fs::metadata(here.path()).unwrap();
        let owner = if geteuid().is_root() { (12_345, 12_346) } else { (own.uid(), own.gid()) };
        chown(here.path(), Some(owner.0), Some(owner.1)).unwrap();
        write_new(&place("a"), b"a", OWNER_ONLY).unwrap();
        put_new(&place("b"), b"b", OWNER_ONLY).unwrap();
        put(&place("c"), b"c", OWNER_ONLY).unwrap();
        replace(&place("d"), b"d", OWNER_ONLY).unwrap();
        replace_exactly(&place("e"), b"e", 0o646).unwrap();
        NewFile::beside(&place("f"), OWNER_ONLY).unwrap().put().unwrap();
        open_or_make(&place("g"), OpenOptions::new().append(true), OWNER_ONLY).unwrap();
        NewFolder::whole(&place("h"), &[("i/j", b"j".to_vec())], OWNER_ONLY).unwrap();
        make_folders(&place("k/l/m")).unwrap();
        make_folders(&place("k/l/m")).unwrap();
        for name in ["a", "b", "c", "d", "e", "f", "g", "h", "h/i", "h/i/j", "k", "k/l", "k/l/m"] {
            let found = fs::metadata(place(name)).unwrap();
            assert_eq!((found.uid(), found.gid()), owner, "{name}");
        }
        let mode = |name: &str| fs::metadata(place(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("e"), 0o646);
        for name in ["h", "h/i", "k", "k/l", "k/l/m"] {
            assert_eq!(mode(name), FOLDER_OWNER_ONLY, "{name}");
        }
    }

    #[test]
    fn what_is_there_is_opened_as_it_is_and_stays_whose_it_was() {
        let here = tempfile::tempdir().unwrap();
        let file = here.path().join("f");
        fs::write(&file, "one").unwrap();
        let before = fs::metadata(&file).unwrap();
        if geteuid().is_root() {
            chown(here.path(), Some(12_345), Some(12_345)).unwrap();
        }
        open_or_make(&file, OpenOptions::new().append(true), OWNER_ONLY).unwrap();
        let after = fs::metadata(&file).unwrap();
        assert_eq!((before.uid(), before.mode(), 3), (after.uid(), after.mode(), after.len()));
        let blocked = make_folders(&file.join("below")).unwrap_err();
        assert_eq!(blocked.kind(), io::ErrorKind::AlreadyExists);
    }
}
