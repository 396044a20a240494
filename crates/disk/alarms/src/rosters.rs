//! A later roster that waits for the silo's operator: two small files in the state folder.
//!
//! The daemon writes `OFFERED`; `folkmoot-client roster show` reads it aloud, and `roster accept` answers with
//! `ACCEPTED`, which the daemon looks for while anything is on offer.

use std::path::Path;

use identity::SignedRoster;
use params::Digest;
use store::write_replacing;
use vault::files::{self, TEXT_BYTES_MAX, WORLD_READABLE};

/// The signed roster, JSON.
const OFFERED: &str = "roster-offered.json";
/// The digest of the roster that the operator has looked at, hexadecimal.
const ACCEPTED: &str = "roster-accepted";
/// The roster that was accepted last, to hold the next one against.
const IN_FORCE: &str = "roster-in-force.json";

/// Shows a roster to the operator.
///
/// # Errors
/// A folder that cannot be written; in words.
pub fn offer(folder: &Path, roster: &SignedRoster) -> Result<(), String> {
    let json = serde_json::to_vec(roster).map_err(|why| why.to_string())?;
    write_replacing(&folder.join(OFFERED), &json).map_err(|why| why.to_string())
}

/// What was accepted is in force: the offer is what the next one is held against.
pub fn settle(folder: &Path) {
    // Files that stay are harmless: they name a roster that is no longer on offer.
    let _ = std::fs::rename(folder.join(OFFERED), folder.join(IN_FORCE));
    let _ = std::fs::remove_file(folder.join(ACCEPTED));
}

/// The roster on offer in a silo's state folder, if any is.
///
/// # Errors
/// A file that cannot be read, or holds no signed roster; in words.
pub fn offered(folder: &Path) -> Result<Option<SignedRoster>, String> {
    read(&folder.join(OFFERED))
}

/// The roster that was accepted last in a silo's state folder, if any was.
///
/// # Errors
/// As [`offered`].
pub fn in_force(folder: &Path) -> Result<Option<SignedRoster>, String> {
    read(&folder.join(IN_FORCE))
}

/// What the operator has answered, if anything.
///
/// # Errors
/// A file that this daemon cannot read; in words, with what helps.
pub fn answer(folder: &Path) -> Result<Option<String>, String> {
    let path = folder.join(ACCEPTED);
    match files::read_text(&path, TEXT_BYTES_MAX) {
        Ok(text) => Ok(Some(text)),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(format!(
            "a roster was accepted, and this daemon cannot read it: `{0}`: {why}; run: chown --reference='{1}' '{0}'",
            path.display(),
            folder.display()
        )),
    }
}

fn read(path: &Path) -> Result<Option<SignedRoster>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(format!("`{}` cannot be read: {why}", path.display())),
    };
    serde_json::from_str(&text).map(Some).map_err(|why| format!("`{}`: {why}", path.display()))
}

/// Accepts the roster of this digest in the operator's name.
///
/// # Errors
/// A folder that cannot be written; in words.
pub fn accept(folder: &Path, roster: &Digest) -> Result<(), String> {
    let path = folder.join(ACCEPTED);
    // The daemon may be another user than its operator. It is no secret.
    files::replace_exactly(&path, format!("{roster}\n").as_bytes(), WORLD_READABLE)
        .map_err(|why| format!("`{}` cannot be written: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_the_daemon_cannot_read_is_no_silence() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(answer(folder.path()), Ok(None));
        accept(folder.path(), &Digest::sha256(b"roster")).unwrap();
        assert_eq!(answer(folder.path()), Ok(Some(format!("{}\n", Digest::sha256(b"roster")))));
        std::fs::remove_file(folder.path().join(ACCEPTED)).unwrap();
        std::fs::create_dir(folder.path().join(ACCEPTED)).unwrap();
        let why = answer(folder.path()).unwrap_err();
        assert!(why.contains("cannot read it") && why.contains("run: chown --reference="), "{why}");
    }
}
