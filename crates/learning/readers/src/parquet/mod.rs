//! Parquet: one group of rows after another, and of each column a page at a time.
//!
//! Pages are checked and bounded before anything is set aside for them ([`pages`]); what is in them is decoded by the library.
//! What a column has beside numbers, booleans, texts, days and timestamps is refused by its name, and so is what is nested.

mod cell;
mod column;
mod header;
mod pages;
mod runs;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetStatisticsPolicy, RowGroupMetaData,
};

use crate::fault::{FileFault, RecordFault, shortened};
use crate::parquet::cell::Meaning;
use crate::parquet::column::Column;
use crate::parquet::pages::{Packing, Pages};
use crate::records::COLUMNS_MAX;
use crate::row::{Row, Rows};

/// Stands at the file's beginning and end.
const MAGIC: &[u8] = b"PAR1";

/// Stands there where the file is encrypted.
const ENCRYPTED: &[u8] = b"PARE";

/// Longest description of a file: its columns, and where each of them lies.
const DESCRIPTION_BYTES_MAX: u32 = 32 << 20;

/// Decoded at once. A text may be as long as its page.
const RECORDS: usize = 64;

/// A Parquet file's records.
pub(crate) struct ParquetRows {
    file: Arc<File>,
    description: ParquetMetaData,
    names: Vec<String>,
    /// Those that are read, by their places, in order; all where nothing was said.
    selected: Option<Vec<usize>>,
    /// The next group of rows, and what is left of the one that is being read.
    group: usize,
    columns: Vec<(usize, Column)>,
    left: u64,
    decoded: usize,
}

impl ParquetRows {
    pub(crate) fn new(file: File) -> Result<Self, FileFault> {
        let description = description(&file)?;
        let columns = description.file_metadata().schema_descr().columns();
        if columns.len() > COLUMNS_MAX {
            return Err(damaged("it has more columns than a file may have"));
        }
        let names = columns.iter().map(|column| column.path().string()).collect();
        let file = Arc::new(file);
        let (columns, selected) = (Vec::new(), None);
        Ok(Self { file, description, names, selected, group: 0, columns, left: 0, decoded: 0 })
    }

    /// What a column's values mean.
    fn meaning(&self, column: usize) -> Result<Meaning, FileFault> {
        let columns = self.description.file_metadata().schema_descr().columns();
        let Some(descriptor) = columns.get(column) else { return Err(damaged("it has no such column")) };
        let name = || shortened(&descriptor.path().string());
        let is_nested = descriptor.path().parts().len() > 1 || descriptor.max_rep_level() > 0;
        if is_nested {
            return Err(FileFault::Nested { column: name() });
        }
        Meaning::of(descriptor).map_err(|kind| FileFault::ColumnKind { column: name(), kind })
    }

    /// Begins the next group of rows; `false` where there is none.
    fn next_group(&mut self) -> Result<bool, FileFault> {
        let Some(group) = self.description.row_groups().get(self.group) else { return Ok(false) };
        self.left = u64::try_from(group.num_rows()).map_err(|_| damaged("a group has less than no rows"))?;
        let selected = self.selected.get_or_insert_with(|| (0..self.names.len()).collect()).clone();
        let column = |index: usize| Ok((index, self.column(group, index)?));
        self.columns = selected.into_iter().map(column).collect::<Result<_, FileFault>>()?;
        self.group += 1;
        self.decoded = 0;
        Ok(true)
    }

    fn column(&self, group: &RowGroupMetaData, index: usize) -> Result<Column, FileFault> {
        let chunk = group.columns().get(index).ok_or_else(|| damaged("a group lacks a column"))?;
        let packing = Packing::of(chunk.compression()).map_err(|packing| FileFault::Packing {
            column: shortened(&chunk.column_path().string()),
            packing,
        })?;
        if chunk.file_path().is_some() {
            return Err(damaged("a column lies in another file"));
        }
        let pages = Pages::new(Arc::clone(&self.file), packing, chunk);
        let pages = pages.ok_or_else(|| damaged("a column lies nowhere"))?;
        Ok(Column::new(chunk.column_descr_ptr(), self.meaning(index)?, Box::new(pages)))
    }
}

impl Rows for ParquetRows {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn select(&mut self, columns: &[usize]) -> Result<(), FileFault> {
        for column in columns {
            self.meaning(*column)?;
        }
        self.selected = Some(columns.iter().copied().collect::<BTreeSet<_>>().into_iter().collect());
        Ok(())
    }

    fn next_row(&mut self, row: &mut Row) -> Result<Option<Result<(), RecordFault>>, FileFault> {
        while self.left == 0 {
            if !self.next_group()? {
                return Ok(None);
            }
        }
        if self.decoded == 0 {
            self.decoded = usize::try_from(self.left).map_or(RECORDS, |left| left.min(RECORDS));
            for (_, column) in &mut self.columns {
                column.fill(self.decoded).map_err(|why| in_column(column.name(), &why))?;
            }
        }
        self.decoded -= 1;
        self.left -= 1;
        let mut fault = Ok(());
        for (index, column) in &mut self.columns {
            let written = row.set(*index, |text| column.write(text));
            fault = fault.and(written);
        }
        Ok(Some(fault))
    }
}

/// Reads what a file says of itself at its end.
fn description(file: &File) -> Result<ParquetMetaData, FileFault> {
    let length = file.metadata().map_err(FileFault::Unreadable)?.len();
    let mut first = [0; 4];
    let is_long_enough = length >= 12;
    if is_long_enough {
        file.read_exact_at(&mut first, 0).map_err(FileFault::Unreadable)?;
    }
    if first != MAGIC && first != ENCRYPTED {
        return Err(FileFault::NotParquet);
    }
    let mut last = [0; 8];
    file.read_exact_at(&mut last, length - 8).map_err(FileFault::Unreadable)?;
    let ([a, b, c, d, ..], magic) = (last, last.split_at(4).1);
    if magic == ENCRYPTED {
        return Err(FileFault::Encrypted);
    }
    let described = u32::from_le_bytes([a, b, c, d]);
    if magic != MAGIC || u64::from(described) + 12 > length {
        return Err(damaged("it ends too early"));
    }
    if described > DESCRIPTION_BYTES_MAX {
        return Err(damaged("its description is too long; write fewer columns, or more rows to a group"));
    }
    let mut bytes = vec![0; described as usize];
    file.read_exact_at(&mut bytes, length - 8 - u64::from(described)).map_err(FileFault::Unreadable)?;
    let mut options = ParquetMetaDataOptions::new();
    options.set_column_stats_policy(ParquetStatisticsPolicy::SkipAll);
    options.set_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll);
    ParquetMetaDataReader::decode_metadata_with_options(&bytes, Some(&options)).map_err(|why| broken(&why))
}

fn broken(why: &ParquetError) -> FileFault {
    FileFault::Parquet(said(why))
}

fn in_column(name: &str, why: &ParquetError) -> FileFault {
    FileFault::Parquet(format!("in column {}, {}", shortened(name), said(why)))
}

fn damaged(what: &str) -> FileFault {
    FileFault::Parquet(what.to_owned())
}

/// What the library says, without its own words around it.
fn said(why: &ParquetError) -> String {
    match why {
        ParquetError::General(what) | ParquetError::EOF(what) | ParquetError::NYI(what) => shortened(what),
        other => shortened(&other.to_string()),
    }
}
