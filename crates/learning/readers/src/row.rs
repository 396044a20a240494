//! A record that its file has cut into cells itself, as text.

use crate::cells::{Cells, Form, Span};
use crate::fault::{FileFault, RecordFault};
use crate::records::RECORD_BYTES_MAX;

/// What gives one record after another.
pub(crate) trait Rows {
    /// The columns' names in their order.
    fn names(&self) -> &[String];

    /// Leaves out all columns but these.
    fn select(&mut self, columns: &[usize]) -> Result<(), FileFault>;

    /// Sets the cells of the next record; none at the end of the file.
    fn next_row(&mut self, row: &mut Row) -> Result<Option<Result<(), RecordFault>>, FileFault>;
}

/// The cells of a record, of which those that nobody sets have no value.
#[derive(Default)]
pub(crate) struct Row {
    text: String,
    spans: Vec<Span>,
    is_too_long: bool,
}

impl Row {
    /// Begins a record of so many columns.
    pub(crate) fn begin(&mut self, columns: usize) {
        self.text.clear();
        self.is_too_long = false;
        self.spans.clear();
        self.spans.resize(columns, Span { start: 0, end: 0, form: Form::Null });
    }

    /// Sets a cell to a text.
    pub(crate) fn set_text(&mut self, column: usize, cell: impl FnOnce(&mut String)) {
        let start = self.begin_cell();
        cell(&mut self.text);
        self.end_cell(column, start);
    }

    /// Sets a cell to what is written; to none where `cell` says that it has written none.
    pub(crate) fn set(
        &mut self,
        column: usize,
        cell: impl FnOnce(&mut String) -> Result<bool, RecordFault>,
    ) -> Result<(), RecordFault> {
        let start = self.begin_cell();
        if cell(&mut self.text)? {
            self.end_cell(column, start);
        }
        Ok(())
    }

    fn begin_cell(&mut self) -> usize {
        // What has become too long is not kept: the record is broken, whatever else stands in it.
        if self.text.len() > RECORD_BYTES_MAX {
            self.text.clear();
            self.is_too_long = true;
        }
        self.text.len()
    }

    fn end_cell(&mut self, column: usize, start: usize) {
        if let Some(span) = self.spans.get_mut(column) {
            // Shorter than 4 GiB: beyond the bound there is one cell at most, which its file keeps within a page.
            *span = Span { start: start as u32, end: self.text.len() as u32, form: Form::Quoted };
        }
    }

    /// The record as it was put together.
    pub(crate) fn cells(&self) -> Result<Cells<'_>, RecordFault> {
        match self.is_too_long || self.text.len() > RECORD_BYTES_MAX {
            true => Err(RecordFault::TooLong),
            false => Ok(Cells { text: &self.text, spans: &self.spans, quote: None, trim: false }),
        }
    }
}
