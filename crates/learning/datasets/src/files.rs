//! Which files of a folder are read, and how they are opened.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use readers::Records;
use registration::{Compression, Dialect, FileKind, Registration};

use crate::error::DatasetError;
use crate::remarks::Remarks;

/// What an operating system or an office program puts beside a file, under the same ending.
const BESIDE: [&str; 2] = ["._", "~$"];

/// Compared at once.
const COMPARED_BYTES: u64 = 64 << 10;

/// How files are written of which this is registered: without a registration, as plain ones are.
pub(crate) fn dialect_of(registration: Option<&Registration>) -> Cow<'_, Dialect> {
    registration.map_or_else(Cow::default, |registration| Cow::Borrowed(registration.dialect()))
}

/// The files that are read, in the order of their names.
pub(crate) fn files(path: &Path, dialect: &Dialect) -> Result<Vec<PathBuf>, DatasetError> {
    listed(path, dialect).map(|(files, _)| files)
}

/// The files that are read, in the order of their names, and what the operator should look at among them.
///
/// # Errors
/// [`DatasetError`]: a path that cannot be listed, or a folder without tables.
pub fn files_with_remarks(path: &Path, dialect: &Dialect) -> Result<(Vec<PathBuf>, Remarks), DatasetError> {
    let (files, left_out) = listed(path, dialect)?;
    let twice = twice(&files);
    Ok((files, Remarks::of_files(left_out, twice)))
}

/// A file's records.
pub(crate) fn records(path: &Path, dialect: &Dialect) -> Result<Records<File>, DatasetError> {
    Records::open(path, dialect).map_err(|fault| DatasetError::of_file(&name(path), path, fault))
}

/// How messages name a file: without its folder, and safe to show.
pub fn name(path: &Path) -> String {
    identity::printable(&path.file_name().unwrap_or(path.as_os_str()).to_string_lossy())
}

fn listed(path: &Path, dialect: &Dialect) -> Result<(Vec<PathBuf>, Vec<String>), DatasetError> {
    if !fs::metadata(path).map_err(unreadable(path))?.is_dir() {
        return Ok((vec![path.to_owned()], Vec::new()));
    }
    let (mut files, mut left_out) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(path).map_err(unreadable(path))? {
        let file = entry.map_err(unreadable(path))?.path();
        if !is_table(&file, dialect) {
            continue;
        }
        match BESIDE.iter().any(|beside| name(&file).starts_with(beside)) {
            true => left_out.push(name(&file)),
            false => files.push(file),
        }
    }
    if files.is_empty() {
        return Err(DatasetError::NoFiles { path: path.to_owned(), ending: dialect.kind.as_str() });
    }
    files.sort();
    left_out.sort();
    Ok((files, left_out))
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> DatasetError {
    move |why| DatasetError::Unreadable { path: path.to_owned(), why }
}

/// Whether its name ends as a table's, which in a packed one stands before `.gz`.
fn is_table(file: &Path, dialect: &Dialect) -> bool {
    let ending = dialect.kind.as_str();
    let ends =
        |file: &Path, with| file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(with));
    let is_packed = dialect.kind == FileKind::Csv && dialect.compression == Compression::Gzip;
    let unpacked = file.file_stem().filter(|_| is_packed && ends(file, "gz"));
    ends(file, ending) || unpacked.is_some_and(|unpacked| ends(Path::new(unpacked), ending))
}

/// Files with the same bytes. What cannot be looked at is said where it is read.
fn twice(files: &[PathBuf]) -> Vec<(String, String)> {
    let length =
        |file: &PathBuf| fs::metadata(file).ok().filter(fs::Metadata::is_file).map(|found| found.len());
    let lengths: Vec<Option<u64>> = files.iter().map(length).collect();
    let mut found = Vec::new();
    for (index, (copy, own)) in files.iter().zip(&lengths).enumerate() {
        let before = files.iter().zip(&lengths).take(index);
        for (first, _) in before.filter(|(_, length)| own.is_some_and(|own| own > 0) && *length == own) {
            if same_bytes(first, copy).unwrap_or(false) {
                found.push((name(first), name(copy)));
                break;
            }
        }
    }
    found
}

fn same_bytes(first: &Path, second: &Path) -> io::Result<bool> {
    let (mut first, mut second) = (File::open(first)?, File::open(second)?);
    loop {
        let (mut here, mut there) = (Vec::new(), Vec::new());
        first.by_ref().take(COMPARED_BYTES).read_to_end(&mut here)?;
        second.by_ref().take(COMPARED_BYTES).read_to_end(&mut there)?;
        if here != there {
            return Ok(false);
        }
        if here.is_empty() {
            return Ok(true);
        }
    }
}
