//! The program as people and scripts run it: its words, and how it ends.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// How `Failure` ends the program.
pub(crate) const FAILED: i32 = 1;
pub(crate) const USAGE: i32 = 2;
pub(crate) const VERIFICATION: i32 = 3;

/// What a run of the program printed, and how it ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the program in a folder, on a line that is split at its spaces, with `answers` on standard input.
pub(crate) fn folkmoot(folder: &Path, line: &str, answers: &str) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_folkmoot"));
    command.args(line.split_whitespace()).current_dir(folder).env_remove("FOLKMOOT_AS");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = command.spawn().unwrap();
    // Who reads no answers may have ended already.
    let _ = program.stdin.take().unwrap().write_all(answers.as_bytes());
    let output = program.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// A folder that commands run in, so that they name its files by their names alone.
pub(crate) struct Here(TempDir);

impl Here {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }

    pub(crate) fn run(&self, line: &str) -> Ended {
        folkmoot(self.0.path(), line, "")
    }

    /// What a command prints that does what it is asked.
    pub(crate) fn done(&self, line: &str) -> String {
        let Ended { code, out, err } = self.run(line);
        assert_eq!(code, 0, "{line}: {err}");
        out
    }

    /// What a command says that does not, and ends so.
    pub(crate) fn refused(&self, line: &str, code: i32) -> String {
        let ended = self.run(line);
        assert_eq!(ended.code, code, "{line}: {}", ended.err);
        ended.err
    }
}
