//! Small files: made whole, replaced whole, durable when a call returns; and texts, read up to a limit.
//!
//! What root makes belongs to whoever owns the folder that it is made in, as what anybody else makes mostly does: a daemon reads
//! what an administrator wrote for it. The umask takes from every mode, but where a function says that it does not.
//!
//! They are here, below the store, because what lies lowest on a disk is written so: keyrings and key files. The store, the
//! ledgers and all above link this crate for what they seal.
//!
//! ```
//! use vault::files::{self, OWNER_ONLY};
//!
//! let folder = tempfile::tempdir()?;
//! let file = folder.path().join("note");
//! files::write_new(&file, b"one", OWNER_ONLY)?;
//! assert!(files::write_new(&file, b"two", OWNER_ONLY).is_err());
//! files::replace(&file, b"three", OWNER_ONLY)?;
//! assert_eq!(files::read_text(&file, 5)?, "three");
//! assert!(files::read_text(&file, 4).is_err());
//! # Ok::<(), std::io::Error>(())
//! ```

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rand::TryRng;
use rand::rngs::SysRng;
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

mod new_file;
mod owner;
mod reading;

pub use new_file::NewFile;
pub(crate) use owner::make_folders_as;
pub use owner::{make_folder, make_folders, open_or_make};
pub use reading::{read_secret_argument, read_secret_text, read_text};

/// The mode of what only its owner reads.
pub const OWNER_ONLY: u32 = 0o600;
/// The mode of what everybody on the machine may read.
pub const WORLD_READABLE: u32 = 0o644;
/// The mode of a folder that only its owner looks into.
pub const FOLDER_OWNER_ONLY: u32 = 0o700;
/// The mode of a folder that everybody on the machine may look into.
pub const FOLDER_WORLD_READABLE: u32 = 0o755;
/// The mode of what whoever the process's umask allows may read and write, as with any file.
pub const AS_UMASK: u32 = 0o666;

/// Longer than any text that a person writes or a program of ours keeps in one file: a configuration, a plan, a roster, a
/// certificate, a key.
pub const TEXT_BYTES_MAX: u64 = 64 << 20;

/// A system's number for a file that is there already: error texts quote its words for it.
const EEXIST: i32 = 17;
/// Of a temporary name.
const RANDOM_BYTES: usize = 8;
/// Files that are begun before a call gives up: each but the last was locked by another process in the moment between its
/// creation and its own lock.
const ATTEMPTS: usize = 100;

/// Writes a file that is not there yet: all of it appears at once, also to other processes and after a crash. Of several that
/// make the same file, one does. One whose name cannot be made durable is taken away again: it would stand in the way of the
/// next call.
///
/// What a crash leaves of a call may be a part of a secret. It lies beside the file, under the file's name with 16 random
/// hexadecimal digits and `.tmp` after it, and the next call for the same file, of [`put`] too, removes it; where the file
/// system has no locks it stays, as it cannot be told from a call's that is at work. What cannot be removed is in nobody's way.
///
/// On a file system that has neither hard links nor a rename that replaces nothing, the file is empty at first, and stays so
/// after a crash between the two.
///
/// # Errors
/// A file that exists ([`io::ErrorKind::AlreadyExists`]); a disk that fails.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    place(path, bytes, mode)?;
    // The failure is what is reported.
    sync_parent(path).inspect_err(|_| drop(fs::remove_file(path)))
}

/// As [`write_new`], for a file that others may use as soon as it is there: it stays, also where its name cannot be made durable.
///
/// # Errors
/// As [`write_new`].
pub fn put_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    place(path, bytes, mode)?;
    sync_parent(path)
}

/// As [`write_new`], for whoever makes the new name durable later ([`sync_folder`]), and for a folder that nobody reads before it
/// is whole: a reader may see a part of the file, and a crash may leave one. One that cannot be written whole is taken away.
///
/// # Errors
/// As [`write_new`].
pub fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // The failure to write is what is reported.
    fill(&create(path, mode)?, bytes).inspect_err(|_| drop(fs::remove_file(path)))
}

/// Puts a file in the place of another, or of none: a reader, and a crash, find all of the old content or all of the new. One
/// process at a time replaces a file.
///
/// # Errors
/// A disk that fails; the old content is there then.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = beside(path, ".tmp");
    // Of a call that was cut off.
    match fs::remove_file(&temporary) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        _ => {}
    }
    write_synced(&temporary, bytes, mode)?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}

/// As [`replace`], and the file has exactly this mode, whatever the umask: for what another user's process is to read.
///
/// # Errors
/// As [`replace`].
pub fn replace_exactly(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    remove_left(path);
    let begun = Begun::new(path, OWNER_ONLY)?;
    owner::set_mode(&begun.file, mode).inspect_err(|_| drop(fs::remove_file(&begun.at)))?;
    begun.finish(bytes, path, |from, to| fs::rename(from, to))?;
    sync_parent(path)
}

/// As [`replace`], where several processes may do so, and other files may have any name: the last of them wins. What a crash
/// leaves is found and removed as that of [`write_new`]: nothing but that and the file itself is touched.
///
/// # Errors
/// As [`replace`].
pub fn put(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    remove_left(path);
    Begun::new(path, mode)?.finish(bytes, path, |from, to| fs::rename(from, to))?;
    sync_parent(path)
}

/// Makes the names in a folder durable.
///
/// # Errors
/// A disk that fails.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes the name of `path` durable.
///
/// # Errors
/// A disk that fails.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    sync_folder(parent(path))
}

/// The folder that a path's last name is in, which need not be there: the current one of a bare name.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes a file under a temporary name, and gives it its own.
fn place(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    remove_left(path);
    absent(path)?;
    Begun::new(path, mode)?.finish(bytes, path, rename_new)
}

/// A file in the making, under a temporary name, and locked for as long: one that nobody has locked was left by a crash.
struct Begun {
    file: File,
    at: PathBuf,
}

impl Begun {
    fn new(path: &Path, mode: u32) -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            let at = fresh_beside(path)?;
            let file = create(&at, mode)?;
            // Where there are no locks, nobody takes this file for a left one either.
            let locked = !matches!(file.try_lock(), Err(TryLockError::WouldBlock));
            // Else another call had the lock sooner, and removes the file.
            if locked && is_at(&file, &at)? {
                return Ok(Self { file, at });
            }
            let _ = fs::remove_file(&at);
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, "other processes lock whatever is made beside it"))
    }

    /// Fills it and gives it its name, or removes it.
    fn finish(
        &self,
        bytes: &[u8],
        path: &Path,
        rename: impl Fn(&Path, &Path) -> io::Result<()>,
    ) -> io::Result<()> {
        // The failure is what is reported.
        let finished = fill(&self.file, bytes).and_then(|()| rename(&self.at, path));
        let finished = finished.inspect_err(|_| drop(fs::remove_file(&self.at)));
        // The file is other locks' from now on, also where a child process has inherited this handle.
        let _ = self.file.unlock();
        finished
    }
}

/// Renames a file to a name that nothing has.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(why) if [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP].contains(&why) => link_new(from, to),
        renamed => Ok(renamed?),
    }
}

/// As [`rename_new`], on a file system that knows no such rename.
fn link_new(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        // A second name that stays is removed by the next call.
        Ok(()) => {
            let _ = fs::remove_file(from);
            Ok(())
        }
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => Err(why),
        Err(_) => reserve_new(from, to),
    }
}

/// As [`rename_new`], on a file system that knows no hard links either: what is replaced is this call's own.
fn reserve_new(from: &Path, to: &Path) -> io::Result<()> {
    create(to, OWNER_ONLY)?;
    fs::rename(from, to).inspect_err(|_| drop(fs::remove_file(to)))
}

/// Removes what calls for this file that were cut off have left, as far as that is possible: it is nobody's error.
fn remove_left(path: &Path) {
    let Some(own) = path.file_name() else { return };
    for entry in fs::read_dir(parent(path)).into_iter().flatten().flatten() {
        if is_temporary(&entry.file_name(), own) {
            let _ = remove_unlocked(&entry.path());
        }
    }
}

/// Whether a name is one of [`fresh_beside`] for the file of the name `own`.
fn is_temporary(name: &OsStr, own: &OsStr) -> bool {
    let ending = name.as_bytes().strip_prefix(own.as_bytes());
    let random =
        ending.and_then(|ending| ending.strip_prefix(b".")).and_then(|ending| ending.strip_suffix(b".tmp"));
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    random.is_some_and(|random| random.len() == 2 * RANDOM_BYTES && random.iter().all(is_digit))
}

/// Removes a file that no call is at work on; nothing but a file, and no link is followed to one.
fn remove_unlocked(left: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(left)?.is_file() {
        return Ok(());
    }
    let as_it_lies = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().write(true).custom_flags(as_it_lies).open(left)?;
    if file.try_lock().is_ok() && is_at(&file, left)? { fs::remove_file(left) } else { Ok(()) }
}

/// Whether a file has this name still.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(there) => {
            let held = file.metadata()?;
            Ok((held.dev(), held.ino()) == (there.dev(), there.ino()))
        }
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(why) => Err(why),
    }
}

/// A link that leads nowhere is something too.
fn absent(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(io::Error::from_raw_os_error(EEXIST)),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(why) => Err(why),
    }
}

pub(crate) fn create(path: &Path, mode: u32) -> io::Result<File> {
    let made = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    owner::give_to_folders_owner(made, path)
}

fn fill(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

/// A name that nothing has yet, of a file that is to have this one.
pub(crate) fn fresh_beside(path: &Path) -> io::Result<PathBuf> {
    let mut random = [0; RANDOM_BYTES];
    SysRng.try_fill_bytes(&mut random).map_err(io::Error::other)?;
    // Without a slash at its end, which would lead into it.
    Ok(beside(path.components().as_path(), &format!(".{}.tmp", hex::encode(random))))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    type Make = fn(&Path, &[u8], u32) -> io::Result<()>;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_that_is_there_is_left_as_it_is_and_nothing_lies_beside_it() {
        let here = tempfile::tempdir().unwrap();
        for (name, make) in [("a", write_new as Make), ("b", put_new as Make)] {
            let file = here.path().join(name);
            make(&file, b"one", OWNER_ONLY).unwrap();
            let why = make(&file, b"two", OWNER_ONLY).unwrap_err();
            assert_eq!(why.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(why.to_string(), fs::create_dir(&file).unwrap_err().to_string());
            assert_eq!(fs::read(&file).unwrap(), b"one");
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, OWNER_ONLY);
        }
        assert_eq!(names(here.path()), ["a", "b"]);
    }

    #[test]
    fn what_a_call_left_that_died_before_the_file_had_its_name_is_removed_by_the_next() {
        let here = tempfile::tempdir().unwrap();
        for (name, make) in [("a", write_new as Make), ("b", put_new as Make), ("c", put as Make)] {
            let file = here.path().join(name);
            let dying = Begun::new(&file, AS_UMASK).unwrap();
            (&dying.file).write_all(b"half a sec").unwrap();
            let left = dying.at.clone();
            // As the machine does at the end of a process: the handle goes, the file stays.
            drop(dying);
            assert_eq!(fs::read(&left).unwrap(), b"half a sec");
            make(&file, b"a secret", OWNER_ONLY).unwrap();
            assert_eq!(fs::read(&file).unwrap(), b"a secret");
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, OWNER_ONLY);
        }
        // One that died once the file had its name, where that was given by a link.
        fs::hard_link(here.path().join("a"), fresh_beside(&here.path().join("a")).unwrap()).unwrap();
        write_new(&here.path().join("a"), b"two", OWNER_ONLY).unwrap_err();
        assert_eq!(names(here.path()), ["a", "b", "c"]);
    }

    #[test]
    fn what_another_call_is_at_work_on_or_cannot_be_removed_stays_and_nobody_waits_for_it() {
        let here = tempfile::tempdir().unwrap();
        let file = here.path().join("f");
        let working = Begun::new(&file, OWNER_ONLY).unwrap();
        let folder = fresh_beside(&file).unwrap();
        fs::create_dir(&folder).unwrap();
        let others = ["f.tmp", "f.0123456789abcdeg.tmp", "f.0123.tmp", "g.0123456789abcdef.tmp"];
        others.iter().for_each(|other| fs::write(here.path().join(other), "another's").unwrap());
        for (make, content) in [(write_new as Make, b"one"), (put as Make, b"two")] {
            make(&file, content, OWNER_ONLY).unwrap();
            assert_eq!(fs::read(&file).unwrap(), content);
            assert!(is_at(&working.file, &working.at).unwrap() && folder.is_dir());
            assert_eq!(names(here.path()).len(), 3 + others.len());
        }
        let why = working.finish(b"three", &file, rename_new).unwrap_err();
        assert_eq!(why.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(names(here.path()).len(), 2 + others.len());
    }

    #[test]
    fn nothing_is_written_through_a_link_nor_locked_nor_removed() {
        let here = tempfile::tempdir().unwrap();
        let (file, other) = (here.path().join("f"), here.path().join("other"));
        fs::write(&other, "theirs").unwrap();
        for (target, link) in [("other", "f.0123456789abcdef.tmp"), ("nowhere", "f.00112233aabbccdd.tmp")] {
            std::os::unix::fs::symlink(here.path().join(target), here.path().join(link)).unwrap();
            write_new(&file, b"secret", OWNER_ONLY).unwrap();
            assert_eq!(fs::read(&other).unwrap(), b"theirs");
            fs::remove_file(here.path().join(link)).unwrap();
            assert_eq!(names(here.path()), ["f", "other"]);
            fs::remove_file(&file).unwrap();
        }
        std::os::unix::fs::symlink(here.path().join("nowhere"), &file).unwrap();
        assert_eq!(
            put_new(&file, b"secret", OWNER_ONLY).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists,
            "nor through one in the file's own place"
        );
        assert_eq!(names(here.path()), ["f", "other"]);
    }

    #[test]
    fn no_way_to_give_a_file_its_name_replaces_another() {
        let here = tempfile::tempdir().unwrap();
        let (from, to) = (here.path().join("from"), here.path().join("to"));
        for rename in [rename_new, link_new, reserve_new] {
            fs::write(&from, "new").unwrap();
            fs::write(&to, "old").unwrap();
            assert_eq!(rename(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read_to_string(&to).unwrap(), "old");
            fs::remove_file(&to).unwrap();
            std::os::unix::fs::symlink(here.path().join("nowhere"), &to).unwrap();
            assert_eq!(rename(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            fs::remove_file(&to).unwrap();
            rename(&from, &to).unwrap();
            assert_eq!(fs::read_to_string(&to).unwrap(), "new");
            assert_eq!(names(here.path()), ["to"]);
            fs::remove_file(&to).unwrap();
            rename(&from, &to).unwrap_err();
            assert_eq!(names(here.path()).len(), 0, "nothing to rename");
        }
    }

    #[test]
    fn of_many_that_make_one_file_one_does_and_every_other_finds_it_whole() {
        let here = tempfile::tempdir().unwrap();
        let file = here.path().join("f");
        fs::write(here.path().join("f.0123456789abcdef.tmp"), "left").unwrap();
        let made: Vec<u8> = std::thread::scope(|scope| {
            let calls: Vec<_> = (0..16_u8)
                .map(|own| {
                    let file = &file;
                    scope.spawn(move || match put_new(file, &[own; 5000], OWNER_ONLY) {
                        Ok(()) => Some(own),
                        Err(why) => {
                            assert_eq!(why.kind(), io::ErrorKind::AlreadyExists);
                            let found = fs::read(file).unwrap();
                            assert!(found.len() == 5000 && found.iter().all(|byte| *byte == found[0]));
                            None
                        }
                    })
                })
                .collect();
            calls.into_iter().filter_map(|call| call.join().unwrap()).collect()
        });
        assert_eq!(made.len(), 1, "{made:?}");
        assert_eq!(fs::read(&file).unwrap(), [made[0]; 5000]);
        assert_eq!(names(here.path()), ["f"]);
    }

    #[test]
    fn what_a_replacement_that_was_cut_off_left_stands_in_nobodys_way_and_keeps_no_mode() {
        let here = tempfile::tempdir().unwrap();
        let (file, left) = (here.path().join("f"), here.path().join("f.tmp"));
        fs::write(&left, "a longer half").unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o644)).unwrap();
        for content in ["one", "two"] {
            replace(&file, content.as_bytes(), OWNER_ONLY).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), content);
        }
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, OWNER_ONLY);
        assert_eq!(names(here.path()), ["f"]);
    }

    #[test]
    fn a_file_is_put_whole_in_the_place_of_another_and_leaves_nothing_beside_it() {
        let here = tempfile::tempdir().unwrap();
        let file = here.path().join("f");
        fs::write(here.path().join("f.tmp"), "another's").unwrap();
        for content in ["old", "new"] {
            put(&file, content.as_bytes(), WORLD_READABLE).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), content);
        }
        assert_eq!(names(here.path()), ["f", "f.tmp"]);
        let taken = here.path().join("folder");
        fs::create_dir(&taken).unwrap();
        assert!(put(&taken, b"new", WORLD_READABLE).is_err());
        assert_eq!(names(here.path()), ["f", "f.tmp", "folder"]);
    }

    #[test]
    fn a_replacement_that_fails_leaves_what_was_there() {
        let here = tempfile::tempdir().unwrap();
        let file = here.path().join("f");
        replace(&file, b"one", OWNER_ONLY).unwrap();
        fs::create_dir(here.path().join("f.tmp")).unwrap();
        assert!(replace(&file, b"two", OWNER_ONLY).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"one");
    }
}
