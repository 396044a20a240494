//! The registry's file: canonical JSON under a digest, replaced whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use params::Digest;
use serde::{Deserialize, Serialize};
use vault::files::{self, AS_UMASK};

use super::state::State;

/// The newest version of the file's format. A file has the first one that can hold what it holds, so that an older
/// release reads it or names the version that it lacks.
const VERSION: u32 = 2;

/// What the file holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    version: u32,
    /// Over the canonical text of the state: a file that was cut, flipped or edited is told from a good one.
    digest: Digest,
    state: State,
}

/// A registry's file that cannot be used. It is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum RegistryFileError {
    /// It cannot be read.
    #[error("the registry `{path}` cannot be read; check who owns it and the disk", path = .path.display())]
    Read {
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("the registry `{path}` cannot be written; check who owns its folder and the disk", path = .path.display())]
    Write {
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is not what was written.
    #[error(
        "the registry `{path}` is damaged or was edited by hand; put its last good copy back: without it nobody knows \
         who is barred (it was not touched)",
        path = .path.display()
    )]
    Damaged { path: PathBuf },
    /// A later release wrote it.
    #[error(
        "the registry `{path}` has format {version}, this release reads up to {VERSION}: install a newer release; nothing was \
         changed",
        path = .path.display()
    )]
    Version { path: PathBuf, version: u32 },
}

/// Where the registry is kept.
#[derive(Debug)]
pub(super) struct RegistryFile {
    path: PathBuf,
}

impl RegistryFile {
    /// Reads the file, or begins one where there is none.
    pub(super) fn open(path: &Path) -> Result<(Self, State), RegistryFileError> {
        let file = Self { path: path.to_owned() };
        let state = match fs::metadata(path) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                let state = State::default();
                file.save(&state)
                    .map_err(|source| RegistryFileError::Write { path: path.to_owned(), source })?;
                state
            }
            // However long it is: what was written is read. What it may hold is limited where that is taken.
            _ => {
                let bytes = fs::read(path)
                    .map_err(|source| RegistryFileError::Read { path: path.to_owned(), source })?;
                file.parse(&bytes)?
            }
        };
        Ok((file, state))
    }

    fn parse(&self, bytes: &[u8]) -> Result<State, RegistryFileError> {
        /// The one field that later versions keep.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let damaged = || RegistryFileError::Damaged { path: self.path.clone() };
        let text = std::str::from_utf8(bytes).map_err(|_| damaged())?;
        let Versioned { version } = serde_json::from_str(text).map_err(|_| damaged())?;
        if !(1..=VERSION).contains(&version) {
            return Err(RegistryFileError::Version { path: self.path.clone(), version });
        }
        let sealed: Sealed = serde_json::from_str(text).map_err(|_| damaged())?;
        match encode(&sealed.state) {
            Ok(canonical) if canonical == text => Ok(sealed.state),
            _ => Err(damaged()),
        }
    }

    /// Replaces the file; durable when it returns.
    pub(super) fn save(&self, state: &State) -> io::Result<()> {
        files::replace(&self.path, encode(state)?.as_bytes(), AS_UMASK)
    }
}

fn encode(state: &State) -> io::Result<String> {
    let digest = Digest::of("folkmoot/v1/registry", &[&serde_json::to_vec(state)?]);
    Ok(serde_json::to_string(&Sealed { version: state.version(), digest, state: state.clone() })? + "\n")
}

#[cfg(test)]
mod tests {
    use secagg::ClientId;

    use super::super::state::{Denial, Lifted, Whom};
    use super::*;

    #[test]
    fn a_file_with_any_flipped_bit_or_cut_anywhere_is_refused() {
        let denial = Denial {
            whom: Whom::Client(ClientId(7)),
            reason: "stolen".into(),
            by: "ada".into(),
            time_s: 1_700_000_000,
            left: false,
            suspension: true,
        };
        let lifted = Lifted { denial: denial.clone(), reason: "found".into(), by: "ada".into(), time_s: 1 };
        let state = State { denied: vec![denial], lifted: vec![lifted], ..State::default() };
        let file = RegistryFile { path: PathBuf::from("access.json") };
        let good = encode(&state).unwrap().into_bytes();
        assert_eq!(file.parse(&good).unwrap(), state);
        for at in 0..good.len() {
            assert!(file.parse(&good[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut flipped = good.clone();
                flipped[at] ^= 1 << bit;
                assert!(file.parse(&flipped).is_err(), "bit {bit} of byte {at}");
            }
        }
        assert!(file.parse(&[&good[..], b" "].concat()).is_err());
    }
}
