//! When the other members cosigned last, kept on disk: a silo that is started again goes on with what it has seen, and need not
//! wait until everybody has cosigned anew. Whether that was lately enough, the core decides.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use secagg::ClientId;
use store::StoreError;

/// Of the file, in the state folder.
const FILE: &str = "cosigned";
/// Its first line. Each other one is a member's number and the time in its newest cosignature, in seconds since 1970.
const HEADER: &str = "folkmoot-cosigned 1";

/// What a file of times cannot be used for.
#[derive(Debug, thiserror::Error)]
#[error("`{}` {why}: this silo takes part once others have cosigned the coordinator's log anew", file.display())]
pub struct TimesLost {
    file: PathBuf,
    why: String,
}

/// The members, each with the time in its newest cosignature, in seconds since 1970.
pub(crate) struct Cosigned {
    file: PathBuf,
    newest: BTreeMap<ClientId, u64>,
}

impl Cosigned {
    /// What is kept in the state folder. Without a memory of the log nothing counts: the next state that the coordinator shows is taken
    /// as it is, and need not continue the one that was cosigned.
    ///
    /// # Errors
    /// Times that cannot be read, or removed; what is seen from now on is kept in their place.
    pub(crate) fn open(state: &Path, remembers: bool) -> (Self, Result<(), TimesLost>) {
        let file = state.join(FILE);
        let read = if remembers { read(&file) } else { removed(&file).map(|()| BTreeMap::new()) };
        let (newest, lost) = match read {
            Ok(newest) => (newest, Ok(())),
            Err(why) => (BTreeMap::new(), Err(TimesLost { file: file.clone(), why })),
        };
        (Self { file, newest }, lost)
    }

    pub(crate) fn newest(&self) -> &BTreeMap<ClientId, u64> {
        &self.newest
    }

    /// Takes up what was seen, and forgets whoever is `no_member` any more.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(crate) fn keep(
        &mut self,
        seen: &BTreeMap<ClientId, u64>,
        no_member: impl Fn(&ClientId) -> bool,
    ) -> Result<(), StoreError> {
        let mut newest = self.newest.clone();
        for (member, time_s) in seen {
            let newest = newest.entry(*member).or_insert(*time_s);
            *newest = (*newest).max(*time_s);
        }
        newest.retain(|member, _| !no_member(member));
        if newest != self.newest {
            let lines = newest.iter().map(|(member, time_s)| format!("{member} {time_s}\n"));
            store::write_replacing(
                &self.file,
                format!("{HEADER}\n{}", lines.collect::<String>()).as_bytes(),
            )?;
            self.newest = newest;
        }
        Ok(())
    }
}

fn read(file: &Path) -> Result<BTreeMap<ClientId, u64>, String> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        // Of a release before, or of a silo that has looked at no log yet.
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(why) => return Err(format!("cannot be read ({why})")),
    };
    let lines = text.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix('\n'));
    let entry = |line: &str| {
        let (member, time_s) = line.split_once(' ')?;
        Some((ClientId(member.parse().ok()?), time_s.parse().ok()?))
    };
    let all = lines.and_then(|lines| lines.lines().map(entry).collect());
    all.ok_or_else(|| "holds no times that this release can read".to_owned())
}

fn removed(file: &Path) -> Result<(), String> {
    match std::fs::remove_file(file) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(format!("cannot be removed ({why})")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(all: &[(u32, u64)]) -> BTreeMap<ClientId, u64> {
        all.iter().map(|(member, time_s)| (ClientId(*member), *time_s)).collect()
    }

    fn opened(state: &Path, remembers: bool) -> Cosigned {
        let (cosigned, lost) = Cosigned::open(state, remembers);
        lost.unwrap();
        cosigned
    }

    #[test]
    fn the_newest_time_of_each_member_is_there_after_a_restart_and_of_nobody_else() {
        let state = tempfile::tempdir().unwrap();
        let mut cosigned = opened(state.path(), true);
        assert_eq!(*cosigned.newest(), times(&[]));
        cosigned.keep(&times(&[(2, 100), (3, 90), (4, 95)]), |_| false).unwrap();
        // A checkpoint that nobody has cosigned yet takes nothing back.
        cosigned.keep(&times(&[]), |_| false).unwrap();
        cosigned.keep(&times(&[(2, 80), (3, 120)]), |member| member.0 == 4).unwrap();
        assert_eq!(*opened(state.path(), true).newest(), times(&[(2, 100), (3, 120)]));
        let text = std::fs::read_to_string(state.path().join("cosigned")).unwrap();
        assert_eq!(text, "folkmoot-cosigned 1\n2 100\n3 120\n");
    }

    #[test]
    fn without_a_memory_of_the_log_no_time_counts_not_even_after_the_next_restart() {
        let state = tempfile::tempdir().unwrap();
        opened(state.path(), true).keep(&times(&[(2, 100)]), |_| false).unwrap();
        assert_eq!(*opened(state.path(), false).newest(), times(&[]));
        assert_eq!(*opened(state.path(), true).newest(), times(&[]));
    }

    #[test]
    fn times_that_cannot_be_read_are_said_to_be_lost_and_written_anew() {
        for damage in
            ["", "folkmoot-cosigned 2\n2 1\n", "folkmoot-cosigned 1\n2\n", "folkmoot-cosigned 1\n2 x\n"]
        {
            let state = tempfile::tempdir().unwrap();
            std::fs::write(state.path().join("cosigned"), damage).unwrap();
            let (mut cosigned, lost) = Cosigned::open(state.path(), true);
            let why = lost.unwrap_err().to_string();
            assert!(why.contains("holds no times") && cosigned.newest().is_empty(), "{damage:?}: {why}");
            cosigned.keep(&times(&[(2, 100)]), |_| false).unwrap();
            assert_eq!(*opened(state.path(), true).newest(), times(&[(2, 100)]));
        }
    }
}
