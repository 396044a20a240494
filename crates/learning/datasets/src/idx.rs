//! Pairs of IDX files as a table: a row is an image's pixels, row by row of the image; the plan's features are those columns by their
//! place, whatever they are called.

use std::io::Read;

use plan::{Data, Feature, Unfit};
use readers::idx::{IdxFault, IdxPair};

use crate::dataset::Dataset;
use crate::table::Table;

/// Why two files are not the table that the plan asks for.
///
/// # Privacy
/// For the silo's own operator. A message shows sizes, or one label.
#[derive(Debug, thiserror::Error)]
pub enum IdxError {
    /// Two files that cannot be read, or are no pair.
    #[error(transparent)]
    Files(#[from] IdxFault),
    /// Images of another size than the plan's.
    #[error(
        "an image has {rows} rows of {columns} pixels, the plan has {features} features; correct the plan"
    )]
    Pixels {
        /// Rows of an image.
        rows: u32,
        /// Pixels of a row.
        columns: u32,
        /// Features of the plan.
        features: usize,
    },
    /// A plan that asks for something else than numbers.
    #[error("pixel {pixel} of an image {why}; have the plan ask for numbers")]
    Misfit {
        /// Which, from 0.
        pixel: usize,
        why: Unfit,
    },
    /// A label that is no class.
    #[error("label {index} is {label}, which is no class: the plan's are 0 to {largest}; correct the plan")]
    Label {
        /// Which, from 0.
        index: usize,
        label: u8,
        /// The plan's last class.
        largest: usize,
    },
    /// Files of nothing.
    #[error("there is no image in the files; a silo needs at least one row")]
    NoRows,
}

/// Reads images and their labels. [`Dataset::version`] is that of a CSV file with the same numbers.
///
/// # Errors
/// [`IdxError`], the first that is met.
pub fn read(images: impl Read, labels: impl Read, data: &Data) -> Result<Dataset, IdxError> {
    let mut pair = IdxPair::open(images, labels)?;
    if pair.labels().is_empty() {
        return Err(IdxError::NoRows);
    }
    let largest = data.classes.count().saturating_sub(1);
    if let Some((index, &label)) =
        pair.labels().iter().enumerate().find(|(_, label)| usize::from(**label) > largest)
    {
        return Err(IdxError::Label { index, label, largest });
    }
    let ([rows, columns], width) = (pair.size(), data.column_count());
    if u64::from(rows) * u64::from(columns) != width as u64 {
        return Err(IdxError::Pixels { rows, columns, features: width });
    }
    let mut table = Table::new(data);
    let mut pixels = vec![0_u8; width];
    while let Some(label) = pair.next_image(&mut pixels)? {
        let pushed = table.push_numbers(f64::from(label), pixels.iter().map(|pixel| f64::from(*pixel)));
        pushed.map_err(|(pixel, why)| IdxError::Misfit { pixel, why })?;
    }
    Ok(table.named())
}

/// What a plan says of images of `pixels` bytes each: columns `pixel_0`, `pixel_1` and so on, each from 0 to 255.
pub fn data_section(pixels: usize, classes: usize, scaled_to: [f64; 2]) -> Data {
    let features = (0..pixels).map(|pixel| Feature::range(format!("pixel_{pixel}"), 0.0, 255.0)).collect();
    Data { label: "label".into(), classes: classes.into(), scaled_to, features, class_weights: None }
}
