//! Which files of a folder are read, and how they are opened.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use readers::Records;
use readers::idx::Part;
use registration::{Compression, Dialect, FileKind, Registration};

use crate::error::DatasetError;
use crate::remarks::{LeftOut, Remarks};

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

/// The files that are read, and what was left out.
fn listed(path: &Path, dialect: &Dialect) -> Result<(Vec<PathBuf>, LeftOut), DatasetError> {
    let (own, kind) = (|| Ok((vec![path.to_owned()], LeftOut::default())), dialect.kind);
    match (fs::metadata(path).map_err(unreadable(path))?.is_dir(), kind) {
        (true, FileKind::Images) | (false, FileKind::Csv | FileKind::Parquet) => return own(),
        (true, FileKind::Csv | FileKind::Parquet | FileKind::Idx) => {}
        (false, FileKind::Idx | FileKind::Images) => {
            return Err(DatasetError::NoFolder { path: path.to_owned(), kind: kind.as_str() });
        }
    }
    let (mut files, mut left_out) = (Vec::new(), LeftOut { named: named(kind), ..LeftOut::default() });
    for entry in fs::read_dir(path).map_err(unreadable(path))? {
        let file = entry.map_err(unreadable(path))?.path();
        let is_beside = BESIDE.iter().any(|beside| name(&file).starts_with(beside));
        match (is_of_kind(&file, kind, dialect.compression), is_beside) {
            (true, true) => left_out.beside.push(name(&file)),
            (true, false) => files.push(file),
            (false, false) if is_of_another_kind(&file, kind) => left_out.other_kinds.push(name(&file)),
            // The labels of a pair whose images are read.
            (false, false) if kind == FileKind::Idx && idx_part(&file).is_some() => {}
            (false, false) => left_out.other_names.push(name(&file)),
            (false, true) => {}
        }
    }
    if files.is_empty() {
        return Err(DatasetError::NoFiles { path: path.to_owned(), named: named(kind) });
    }
    files.sort();
    left_out.beside.sort();
    left_out.other_kinds.sort();
    left_out.other_names.sort();
    Ok((files, left_out))
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> DatasetError {
    move |why| DatasetError::Unreadable { path: path.to_owned(), why }
}

/// How files of a kind are named.
fn named(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Csv => "that ends in .csv",
        FileKind::Parquet => "that ends in .parquet",
        FileKind::Idx => "named like train-images-idx3-ubyte",
        FileKind::Images => "that ends in .png or .jpg",
    }
}

/// Whether a file is one of a kind by its name: of packed text what is asked for stands before `.gz`. Of pairs the images are.
fn is_of_kind(file: &Path, kind: FileKind, compression: Compression) -> bool {
    let ends =
        |file: &Path, with| file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(with));
    match kind {
        FileKind::Csv => {
            let unpacked = file.file_stem().filter(|_| compression == Compression::Gzip && ends(file, "gz"));
            ends(file, "csv") || unpacked.is_some_and(|unpacked| ends(Path::new(unpacked), "csv"))
        }
        FileKind::Parquet => ends(file, "parquet"),
        FileKind::Idx => idx_part(file) == Some(Part::Images),
        FileKind::Images => ends(file, "png") || ends(file, "jpg") || ends(file, "jpeg"),
    }
}

/// Whether a file is data of another kind than the registered one.
fn is_of_another_kind(file: &Path, kind: FileKind) -> bool {
    let others = [FileKind::Csv, FileKind::Parquet, FileKind::Idx, FileKind::Images];
    let is = |other: &FileKind| *other != kind && is_of_kind(file, *other, Compression::Gzip);
    // Labels whose images are not there.
    let is_alone =
        || idx_part(file) == Some(Part::Labels) && !of_images(file).is_some_and(|images| images.exists());
    others.iter().any(is) || is_alone()
}

/// Whether a file is one of a pair by its name.
fn idx_part(file: &Path) -> Option<Part> {
    let name = file.file_name()?.to_str()?;
    match (name.contains("images") && name.contains("idx3"), name.contains("labels") && name.contains("idx1"))
    {
        (true, false) => Some(Part::Images),
        (false, true) => Some(Part::Labels),
        _ => None,
    }
}

/// The images that belong to a file of labels.
fn of_images(labels: &Path) -> Option<PathBuf> {
    let name = labels.file_name()?.to_str()?.replace("labels", "images").replace("idx1", "idx3");
    Some(labels.with_file_name(name))
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
