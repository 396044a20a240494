//! What both configurations need: files read, addresses and keys checked, every problem kept for one report.

use std::path::{Path, PathBuf};

use ed25519_dalek::VerifyingKey;
use identity::{AuthorisedRoster, Authority, SignedRoster, parse_verifying_key};
use plan::Problems;
use serde::de::DeserializeOwned;
use vault::files::{self, TEXT_BYTES_MAX};

use crate::misplaced::placed;
use crate::{Configuration, misplaced_word};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read it: {0}")]
    Read(#[source] std::io::Error),
    /// Written for a later release.
    #[error("it has format {format}, this release reads up to {FORMAT}: install a newer release")]
    Format { format: i64 },
    /// The file is not the format, or has an unknown key.
    #[error("it does not parse: {}", placed(.0))]
    Syntax(#[from] toml::de::Error),
    /// A word where a value has to stand.
    #[error("it does not parse: {0}")]
    Word(String),
    /// What it says cannot be used.
    #[error("it cannot be used:\n{0}")]
    Meaning(Problems),
}

/// The format of configurations; one that names none has it.
const FORMAT: i64 = 1;

/// The log filter where none is configured.
pub fn default_log() -> String {
    "info".into()
}

/// A configuration as it is written but for its paths, which are relative to the file, and its text. The paths of the
/// daemon's own keys are left to it.
///
/// # Errors
/// A file that cannot be read, or is not the format.
pub fn load<C: Configuration>(path: &Path) -> Result<(C, String), ConfigError> {
    let text = files::read_text(path, TEXT_BYTES_MAX).map_err(ConfigError::Read)?;
    Ok((parse_at(path, &text)?, text))
}

/// [`load`], of the text of the file at `path`.
///
/// # Errors
/// A text that is not the format.
pub fn parse_at<C: Configuration>(path: &Path, text: &str) -> Result<C, ConfigError> {
    let mut config = of_text::<C>(text)?;
    config.resolve_shared(path);
    Ok(config)
}

fn of_text<C: DeserializeOwned>(text: &str) -> Result<C, ConfigError> {
    let mut table: toml::Table = toml::from_str(text).map_err(|why| syntax::<C>(text, why))?;
    match table.remove("format") {
        // The parser of the text says where it is wrong.
        None => return Ok(toml::from_str(text)?),
        Some(toml::Value::Integer(FORMAT)) => {}
        Some(toml::Value::Integer(format)) => return Err(ConfigError::Format { format }),
        Some(_) => return Err(ConfigError::Format { format: 0 }),
    }
    Ok(toml::Value::Table(table).try_into()?)
}

fn syntax<C: DeserializeOwned>(text: &str, why: toml::de::Error) -> ConfigError {
    // A configuration does not know its own format; the line is left blank, so that all others keep their place.
    let blank = |line: &str| if line.starts_with("format") { "\n".to_owned() } else { line.to_owned() };
    let kept: String = text.split_inclusive('\n').map(blank).collect();
    match toml::from_str::<toml::Table>(&kept) {
        Err(of_kept) => misplaced_word::<C>(&kept, &of_kept).map_or(why.into(), ConfigError::Word),
        Ok(_) => why.into(),
    }
}

/// A configuration of its text alone.
///
/// # Errors
/// A text that is not the format.
pub fn parse<C: DeserializeOwned>(text: &str) -> Result<C, ConfigError> {
    Ok(toml::from_str(text)?)
}

/// Makes relative paths relative to the file that names them.
pub fn resolve<'a>(file: &Path, paths: impl IntoIterator<Item = &'a mut PathBuf>) {
    let folder = file.parent().unwrap_or(Path::new("."));
    for path in paths {
        *path = folder.join(&*path);
    }
}

/// Reads and parses the file that `field` names. What is read is wiped.
pub fn read<T>(
    path: &Path,
    field: &str,
    problems: &mut Problems,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let text = files::read_secret_text(path, TEXT_BYTES_MAX).map_err(|why| format!("cannot be read: {why}"));
    parsed(text.and_then(|text| parse(&text)), path, field, problems)
}

/// Reads the authority that the field names.
pub fn read_authority(path: &Path, field: &str, problems: &mut Problems) -> Option<Authority> {
    read(path, field, problems, |text| {
        Authority::from_canonical(text.trim_end()).map_err(|why| why.to_string())
    })
}

/// Reads the authority that the table `[tls]` names, which must be the one of `authority_key`.
pub fn read_tls_authority(path: &Path, authority_key: &str, problems: &mut Problems) -> Option<Authority> {
    let authority = read_authority(path, "tls.authority", problems)?;
    problems.require(authority.key.eq_ignore_ascii_case(authority_key), "authority_key", || {
        format!(
            "`{}` names another authority's key; both come from one enrolment or one `init`",
            path.display()
        )
    });
    Some(authority)
}

/// Reads `roster`, signed by `authority_key`; gives the key too.
pub fn read_roster(
    path: &Path,
    authority_key: &str,
    problems: &mut Problems,
) -> Option<(AuthorisedRoster, VerifyingKey)> {
    let authority = match parse_verifying_key(authority_key) {
        Ok(key) => key,
        Err(why) => {
            problems.add("authority_key", why.to_string());
            return None;
        }
    };
    read(path, "roster", problems, |text| {
        let signed: SignedRoster =
            serde_json::from_str(text).map_err(|e| format!("it does not parse: {e}"))?;
        signed.authorise(&authority).map_err(|e| e.to_string())
    })
    .map(|roster| (roster, authority))
}

/// The value, or why the file that the field names gives none.
pub fn parsed<T, E: std::fmt::Display>(
    value: Result<T, E>,
    path: &Path,
    field: &str,
    problems: &mut Problems,
) -> Option<T> {
    value.map_err(|why| problems.add(field, format!("`{}`: {why}", path.display()))).ok()
}

/// A key that others on the machine can read is not a secret.
#[cfg(unix)]
pub(crate) fn check_secret(path: &Path, field: &str, problems: &mut Problems) {
    use std::os::unix::fs::PermissionsExt;
    if let Ok(metadata) = std::fs::metadata(path) {
        problems.require(metadata.permissions().mode() & 0o077 == 0, field, || {
            format!("others can read `{}`; run: chmod 600 '{}'", path.display(), path.display())
        });
    }
}

/// Elsewhere than on Unix the folder's own access rules are all there is.
#[cfg(not(unix))]
pub(crate) fn check_secret(_: &Path, _: &str, _: &mut Problems) {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_command_that_fixes_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        std::fs::write(&path, hex::encode([1; 32])).unwrap();
        for (mode, problems_found) in [(0o600, 0), (0o640, 1), (0o604, 1)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let mut problems = Problems::default();
            assert!(crate::read_identity(&path, None, &mut problems).is_some());
            assert_eq!(problems.0.len(), problems_found, "{mode:o}");
            assert!(problems.0.iter().all(|problem| problem.text.contains("chmod 600")), "{problems}");
        }
    }

    #[test]
    fn a_configuration_of_a_later_format_is_refused_by_its_number_whatever_else_it_says() {
        #[derive(serde::Deserialize, Debug)]
        #[serde(deny_unknown_fields)]
        struct Known {
            a: u32,
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            of_text::<Known>(&std::fs::read_to_string(&path).unwrap())
        };
        assert_eq!(read("a = 1").unwrap().a, 1);
        assert_eq!(read("format = 1\na = 1").unwrap().a, 1);
        let why = read("format = 2\nunheard = 7").unwrap_err().to_string();
        assert!(why.contains("format 2, this release reads up to 1: install a newer release"), "{why}");
        assert!(matches!(read("a = 1\nb = 2"), Err(ConfigError::Syntax(_))));
        // A log has a line for each message, and a parser draws below the line that it means.
        for text in ["a = 1\nb = 2", "a = = 1", "a = \"1\na = 2", "format = 1\na = []"] {
            let why = read(text).unwrap_err().to_string();
            assert!(why.starts_with("it does not parse: ") && !why.contains('\n'), "{why}");
        }
        let why = read("a = 1\nb = 2").unwrap_err().to_string();
        assert!(why.starts_with("it does not parse: line 2, column 1: unknown field `b`"), "{why}");
    }

    #[test]
    fn relative_paths_are_beside_their_file_and_absolute_ones_stay() {
        let (mut relative, mut absolute) = (PathBuf::from("a"), PathBuf::from("/b"));
        resolve(Path::new("/etc/x.toml"), [&mut relative, &mut absolute]);
        assert_eq!((relative, absolute), ("/etc/a".into(), "/b".into()));
    }
}
