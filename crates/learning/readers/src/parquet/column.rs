//! A column's values, a few records at a time.

use parquet::basic::Type;
use parquet::column::page::PageReader;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{
    BoolType, ByteArrayType, DataType, DoubleType, FixedLenByteArrayType, FloatType, Int32Type, Int64Type,
    Int96Type,
};
use parquet::errors::{ParquetError, Result};
use parquet::schema::types::ColumnDescPtr;

use crate::fault::RecordFault;
use crate::parquet::cell::{Meaning, int96};

/// A column of one group of rows.
pub(crate) struct Column {
    name: String,
    meaning: Meaning,
    values: Values,
}

enum Values {
    Bool(Typed<BoolType>),
    Int32(Typed<Int32Type>),
    Int64(Typed<Int64Type>),
    Int96(Typed<Int96Type>),
    Float(Typed<FloatType>),
    Double(Typed<DoubleType>),
    Bytes(Typed<ByteArrayType>),
    Fixed(Typed<FixedLenByteArrayType>),
}

impl Column {
    pub(crate) fn new(descriptor: ColumnDescPtr, meaning: Meaning, pages: Box<dyn PageReader>) -> Self {
        let name = descriptor.path().string();
        let values = match descriptor.physical_type() {
            Type::BOOLEAN => Values::Bool(Typed::new(descriptor, pages)),
            Type::INT32 => Values::Int32(Typed::new(descriptor, pages)),
            Type::INT64 => Values::Int64(Typed::new(descriptor, pages)),
            Type::INT96 => Values::Int96(Typed::new(descriptor, pages)),
            Type::FLOAT => Values::Float(Typed::new(descriptor, pages)),
            Type::DOUBLE => Values::Double(Typed::new(descriptor, pages)),
            Type::BYTE_ARRAY => Values::Bytes(Typed::new(descriptor, pages)),
            Type::FIXED_LEN_BYTE_ARRAY => Values::Fixed(Typed::new(descriptor, pages)),
        };
        Self { name, meaning, values }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Decodes the next records' values, exactly so many.
    pub(crate) fn fill(&mut self, records: usize) -> Result<()> {
        match &mut self.values {
            Values::Bool(values) => values.fill(records),
            Values::Int32(values) => values.fill(records),
            Values::Int64(values) => values.fill(records),
            Values::Int96(values) => values.fill(records),
            Values::Float(values) => values.fill(records),
            Values::Double(values) => values.fill(records),
            Values::Bytes(values) => values.fill(records),
            Values::Fixed(values) => values.fill(records),
        }
    }

    /// Writes the next record's value; `false` where it has none.
    pub(crate) fn write(&mut self, text: &mut String) -> std::result::Result<bool, RecordFault> {
        let meaning = self.meaning;
        let written = match &mut self.values {
            Values::Bool(values) => values.next().map(|value| text.push(if *value { '1' } else { '0' })),
            Values::Int32(values) => values.next().map(|value| meaning.integer(i64::from(*value), 32, text)),
            Values::Int64(values) => values.next().map(|value| meaning.integer(*value, 64, text)),
            Values::Int96(values) => values.next().map(|value| text.push_str(&int96(value))),
            // The shortest digits that are this number, as a CSV file would have them.
            Values::Float(values) => values.next().map(|value| text.push_str(&value.to_string())),
            Values::Double(values) => values.next().map(|value| text.push_str(&value.to_string())),
            Values::Bytes(values) => {
                values.next().map(|value| meaning.bytes(value.data(), text)).transpose()?
            }
            Values::Fixed(values) => {
                values.next().map(|value| meaning.bytes(value.data(), text)).transpose()?
            }
        };
        Ok(written.is_some())
    }
}

struct Typed<T: DataType> {
    reader: ColumnReaderImpl<T>,
    /// Whether a record may have no value: then each has a level, which is 1 where it has one.
    nullable: bool,
    levels: Vec<i16>,
    values: Vec<T::T>,
    /// Of the levels and of the values, those that were taken.
    records: usize,
    taken: usize,
}

impl<T: DataType> Typed<T> {
    fn new(descriptor: ColumnDescPtr, pages: Box<dyn PageReader>) -> Self {
        Self {
            nullable: descriptor.max_def_level() > 0,
            reader: ColumnReaderImpl::new(descriptor, pages),
            levels: Vec::new(),
            values: Vec::new(),
            records: 0,
            taken: 0,
        }
    }

    fn fill(&mut self, records: usize) -> Result<()> {
        self.levels.clear();
        self.values.clear();
        (self.records, self.taken) = (0, 0);
        let levels = self.nullable.then_some(&mut self.levels);
        let (read, ..) = self.reader.read_records(records, levels, None, &mut self.values)?;
        match read == records {
            true => Ok(()),
            false => Err(ParquetError::EOF("a column ends before its rows do".into())),
        }
    }

    fn next(&mut self) -> Option<&T::T> {
        if self.nullable {
            let level = self.levels.get(self.records).copied();
            self.records += 1;
            level.filter(|level| *level == 1)?;
        }
        let value = self.values.get(self.taken)?;
        self.taken += 1;
        Some(value)
    }
}
