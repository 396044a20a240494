//! Folders of images: a folder for each class, whose name is the label of the images in it.
//!
//! Classes and, in each, files are read in the order of their names' bytes. Each file is one record: one that gives none has its fault
//! in its place.

mod decode;

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use registration::{Colour, ImageForm};

use crate::fault::{FileFault, ImageFault, RecordFault, shortened};
use crate::image_columns::ImageColumns;
use crate::open::{name, open};
use crate::row::{Row, Rows};

/// Longest file of an image.
pub(crate) const FILE_BYTES_MAX: u64 = 16 << 20;

/// What the names of images end in.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// What operating systems and programs put beside images; and what such names begin with.
const BESIDE: [&str; 2] = ["Thumbs.db", "desktop.ini"];
const BESIDE_BEGIN: [&str; 2] = [".", "~$"];

/// The records of a folder.
pub(crate) struct ImageRows {
    form: ImageForm,
    columns: ImageColumns,
    /// Those that are still to be read, the next one last.
    classes: Vec<PathBuf>,
    class: String,
    /// Whether its name is text, as that of a class is.
    is_text: bool,
    /// Images, and what else lies there, of the class that is being read; the next one last.
    files: Vec<PathBuf>,
    bytes: Vec<u8>,
    pixels: Vec<u8>,
}

impl ImageRows {
    pub(crate) fn open(folder: &Path, form: Option<ImageForm>) -> Result<Self, FileFault> {
        // A dialect without a form is none of images.
        let (form, columns) = form
            .and_then(|form| Some((form, ImageColumns::new(form.numbers())?)))
            .ok_or(FileFault::ImageSize { width: 0, height: 0 })?;
        let (mut classes, files): (Vec<_>, Vec<_>) =
            listed(folder)?.into_iter().partition(|path| path.is_dir());
        let mut has_images = false;
        for class in &classes {
            has_images = has_images || listed(class)?.iter().any(|file| is_image(file));
        }
        if !has_images {
            return Err(FileFault::NoImages);
        }
        classes.reverse();
        let mut files: Vec<PathBuf> = files.into_iter().filter(|file| is_image(file)).collect();
        files.reverse();
        Ok(Self {
            form,
            columns,
            classes,
            class: String::new(),
            is_text: true,
            files,
            bytes: Vec::new(),
            pixels: Vec::new(),
        })
    }

    /// Begins the next class; `false` where there is none.
    fn next_class(&mut self) -> Result<bool, FileFault> {
        let Some(folder) = self.classes.pop() else { return Ok(false) };
        self.class = name(&folder).into_owned();
        self.is_text = folder.file_name().and_then(OsStr::to_str).is_some();
        self.files = listed(&folder)?;
        self.files.reverse();
        Ok(true)
    }

    /// Reads an image's pixels.
    fn read(&mut self, path: &Path) -> Result<(), ImageFault> {
        if self.class.is_empty() {
            return Err(ImageFault::NoClass);
        }
        if !self.is_text {
            return Err(ImageFault::ClassName);
        }
        if path.is_dir() {
            return Err(ImageFault::Folder);
        }
        if !is_image(path) {
            return Err(ImageFault::Ending);
        }
        let file = open(path).map_err(|why| match why {
            FileFault::Special(kind) => ImageFault::Special(kind),
            FileFault::Unreadable(why) => ImageFault::Unreadable(why.kind()),
            other => ImageFault::Damaged(other.to_string()),
        })?;
        self.bytes.clear();
        let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut self.bytes);
        read.map_err(|why| ImageFault::Unreadable(why.kind()))?;
        if self.bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(ImageFault::TooLong);
        }
        decode::decode(&self.bytes, self.form, &mut self.pixels)
    }
}

impl Rows for ImageRows {
    fn names(&self) -> &[String] {
        self.columns.names()
    }

    fn select(&mut self, _: &[usize]) -> Result<(), FileFault> {
        Ok(())
    }

    fn next_row(&mut self, row: &mut Row) -> Result<Option<Result<(), RecordFault>>, FileFault> {
        let path = loop {
            match self.files.pop() {
                Some(path) => break path,
                None if self.next_class()? => {}
                None => return Ok(None),
            }
        };
        Ok(Some(match self.read(&path) {
            Ok(()) => {
                self.columns.set(row, &self.pixels, &self.class);
                Ok(())
            }
            Err(fault) => {
                let (name, between) = (name(&path), if self.class.is_empty() { "" } else { "/" });
                Err(RecordFault::Image { file: shortened(&format!("{}{between}{name}", self.class)), fault })
            }
        }))
    }
}

/// How large the first image is of a folder that has a folder for each class; none where there is no image that can be read. Nothing is
/// decoded.
pub fn form_of_first(folder: &Path) -> Option<ImageForm> {
    let classes = listed(folder).ok()?.into_iter().filter(|path| path.is_dir());
    let files = classes.filter_map(|class| listed(&class).ok()).flatten();
    let form = |file: PathBuf| {
        let mut bytes = Vec::new();
        open(&file).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        let unknown = ImageForm { width: 0, height: 0, colour: Colour::Grey };
        match decode::decode(&bytes, unknown, &mut Vec::new()) {
            Err(ImageFault::Size { width, height }) => {
                Some(ImageForm { width: width.try_into().ok()?, height: height.try_into().ok()?, ..unknown })
            }
            _ => None,
        }
    };
    files.filter(|file| is_image(file)).find_map(form)
}

/// What lies in a folder, in the order of the names' bytes, without what programs put there.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, FileFault> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(FileFault::Unreadable)? {
        let path = entry.map_err(FileFault::Unreadable)?.path();
        let name = name(&path);
        let is_beside =
            BESIDE.contains(&name.as_ref()) || BESIDE_BEGIN.iter().any(|begin| name.starts_with(begin));
        if !is_beside {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn is_image(path: &Path) -> bool {
    path.extension().is_some_and(|own| ENDINGS.iter().any(|ending| own.eq_ignore_ascii_case(ending)))
}
