//! Commands that root gives about a daemon's folder, where the daemon is another user.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const ROOT: u32 = 0;

/// Refuses a command that opens a journal in somebody else's folder as root: what its index leaves there, the daemon could not read.
///
/// # Errors
/// Whose the folder is, and how to give the command as them; a folder that cannot be looked at. In words.
pub fn check_owner(folder: &Path) -> Result<(), String> {
    match std::fs::metadata(folder) {
        Ok(found) => check(rustix::process::geteuid().as_raw(), found.uid(), folder),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(why) => Err(format!("`{}`: {why}", folder.display())),
    }
}

fn check(user: u32, owner: u32, folder: &Path) -> Result<(), String> {
    if user != ROOT || owner == ROOT {
        return Ok(());
    }
    Err(format!(
        "`{0}` is another user's, who could not read what root leaves there; give this command as them: sudo -u '#{owner}' …",
        folder.display()
    ))
}

/// What is to be done before a daemon can use a folder that root has made for itself; nothing where it is somebody's.
pub fn still_roots(folder: &Path) -> Option<String> {
    let roots = std::fs::metadata(folder).is_ok_and(|found| found.uid() == ROOT);
    roots.then(|| {
        format!(
            "chown -R USER: '{}'    # it is root's: give it to the user that the daemon runs as",
            folder.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_opens_no_journal_of_another_user_and_hears_how_it_is_done() {
        let folder = Path::new("/var/lib/folkmoot/client/state");
        for (user, owner) in [(0, 0), (998, 998), (998, 0), (998, 1000)] {
            assert_eq!(check(user, owner, folder), Ok(()));
        }
        let why = check(0, 998, folder).unwrap_err();
        assert!(why.contains("/client/state` is another user's") && why.contains("sudo -u '#998' "), "{why}");
        assert_eq!(check_owner(Path::new("/no/such/folder")), Ok(()));
    }
}
