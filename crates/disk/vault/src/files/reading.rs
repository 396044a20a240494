//! Texts, read up to a limit.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

/// Reads a text of at most `limit` bytes.
///
/// # Errors
/// A file that cannot be read, is longer, or holds no text.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    read_secret_text(path, limit).map(|mut text| std::mem::take(&mut *text))
}

/// As [`read_text`], for what is to be wiped: no copy of it is left in memory.
///
/// # Errors
/// As [`read_text`].
pub fn read_secret_text(path: &Path, limit: u64) -> io::Result<Zeroizing<String>> {
    let too_long = || io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {limit} bytes"));
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > limit {
        return Err(too_long());
    }
    // Room for all of it at once: a text that is moved while it grows leaves copies.
    let mut text =
        Zeroizing::new(String::with_capacity(usize::try_from(length).map_err(|_| too_long())? + 1));
    (&mut file).take(limit).read_to_string(&mut text)?;
    // A file that has grown meanwhile, or one whose length nobody knows.
    if file.read(&mut [0])? > 0 { Err(too_long()) } else { Ok(text) }
}

/// As [`read_secret_text`], of what a command line names: `-` is standard input.
///
/// # Errors
/// As [`read_text`].
pub fn read_secret_argument(path: &Path, limit: u64) -> io::Result<Zeroizing<String>> {
    if path != Path::new("-") {
        return read_secret_text(path, limit);
    }
    // As much room as one line of a secret takes: a text that is moved while it grows leaves copies.
    let mut text = Zeroizing::new(String::with_capacity(4 << 10));
    io::stdin().lock().take(limit).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::TEXT_BYTES_MAX;

    #[test]
    fn a_text_is_read_up_to_its_limit_and_no_further() {
        let here = tempfile::tempdir().unwrap();
        let file = here.path().join("f");
        fs::write(&file, "dïx").unwrap();
        assert_eq!(read_text(&file, 4).unwrap(), "dïx");
        assert_eq!(*read_secret_text(&file, TEXT_BYTES_MAX).unwrap(), "dïx");
        // In the middle of a letter too.
        for limit in [3, 2, 0] {
            assert!(read_text(&file, limit).is_err(), "{limit}");
        }
        fs::write(&file, [0xff]).unwrap();
        assert_eq!(read_text(&file, 9).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
