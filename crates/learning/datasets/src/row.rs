//! A row's cells as the numbers that the model gets, and as what names the table's content.

use plan::{Cell, CellKind, Data, Encoder, Feature, Fit, Missing, Unfit};

/// The row that is being read: all of it, before any of it is kept.
#[derive(Default)]
pub(crate) struct Row {
    /// Whether each cell says what it is in the digest: where all are numbers, none does.
    tagged: bool,
    class: u16,
    numbers: Vec<f32>,
    content: Vec<u8>,
    /// How many cells were added, and which of them lay outside of their range.
    cells: usize,
    clipped: Vec<usize>,
}

impl Row {
    pub(crate) fn new(data: &Data) -> Self {
        Self { tagged: is_tagged(data), ..Self::default() }
    }

    /// Leaves nothing of the row before.
    pub(crate) fn clear(&mut self) {
        self.numbers.clear();
        self.content.clear();
        self.clipped.clear();
        self.cells = 0;
    }

    /// Begins a row by its label's cell.
    pub(crate) fn begin(&mut self, data: &Data, label: Cell<'_>) -> Result<(), Unfit> {
        self.clear();
        self.class = u16::try_from(data.classes.class_of(label)?).map_err(|_| Unfit::NoClass)?;
        self.content.extend(u64::from(self.class).to_le_bytes());
        Ok(())
    }

    /// Adds the cell of the plan's next column.
    pub(crate) fn add(&mut self, encoder: &Encoder<'_>, cell: Cell<'_>) -> Result<(), Unfit> {
        let fit = encoder.encode(cell, &mut self.numbers)?;
        if fit == Fit::Clipped {
            self.clipped.push(self.cells);
        }
        self.cells += 1;
        name_content(&mut self.content, cell, self.tagged);
        Ok(())
    }

    pub(crate) fn class(&self) -> u16 {
        self.class
    }

    /// What the model gets.
    pub(crate) fn numbers(&self) -> &[f32] {
        &self.numbers
    }

    /// What the row adds to the digest of the table's content.
    pub(crate) fn content(&self) -> &[u8] {
        &self.content
    }

    /// In which of the plan's columns a cell lay outside of its range.
    pub(crate) fn clipped(&self) -> &[usize] {
        &self.clipped
    }
}

/// Whether a table of this plan may hold anything but numbers.
pub(crate) fn is_tagged(data: &Data) -> bool {
    let numbers =
        |feature: &Feature| feature.kind() == CellKind::Number && feature.missing == Missing::Misfit;
    !data.features.iter().all(numbers)
}

/// A cell as its column needs it. What is no number stays a text, which no column of numbers takes.
pub(crate) fn cell(text: &str, kind: CellKind) -> Cell<'_> {
    if text.is_empty() {
        return Cell::Missing;
    }
    match kind {
        // Adding zero turns minus zero into zero: one number, one digest.
        CellKind::Number => text.parse::<f64>().map_or(Cell::Text(text), |number| Cell::Number(number + 0.0)),
        CellKind::Text | CellKind::Day => Cell::Text(text),
    }
}

/// Reads back in one way only: a number has eight bytes, a text says how long it is.
fn name_content(content: &mut Vec<u8>, cell: Cell<'_>, tagged: bool) {
    const NUMBER: u8 = 0;
    const TEXT: u8 = 1;
    const MISSING: u8 = 2;
    let tag = match cell {
        Cell::Number(_) => NUMBER,
        Cell::Text(_) => TEXT,
        Cell::Missing => MISSING,
    };
    if tagged {
        content.push(tag);
    }
    match cell {
        Cell::Number(number) => content.extend(number.to_le_bytes()),
        Cell::Text(text) => {
            content.extend((text.len() as u64).to_le_bytes());
            content.extend(text.as_bytes());
        }
        Cell::Missing => {}
    }
}
