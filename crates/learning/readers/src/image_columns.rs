//! What the columns of images are called: the same, whatever the images lie in.

use crate::records::COLUMNS_MAX;
use crate::row::Row;

/// The column of an image's class.
const LABEL: &str = "label";

/// `pixel_0`, `pixel_1` and so on, and last the label.
pub(crate) struct ImageColumns {
    names: Vec<String>,
}

impl ImageColumns {
    /// Of so many numbers an image; none where there are none, or too many.
    pub(crate) fn new(numbers: u64) -> Option<Self> {
        let names = || (0..numbers).map(|pixel| format!("pixel_{pixel}")).chain([LABEL.to_owned()]).collect();
        (1..COLUMNS_MAX as u64).contains(&numbers).then(|| Self { names: names() })
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn set(&self, row: &mut Row, pixels: &[u8], label: &str) {
        for (column, pixel) in pixels.iter().enumerate() {
            row.set_text(column, |text| digits(*pixel, text));
        }
        row.set_text(self.names.len() - 1, |text| text.push_str(label));
    }
}

/// Writes a number without setting anything aside: there are hundreds of them in a record.
fn digits(number: u8, text: &mut String) {
    if number > 99 {
        text.push(char::from(b'0' + number / 100));
    }
    if number > 9 {
        text.push(char::from(b'0' + number / 10 % 10));
    }
    text.push(char::from(b'0' + number % 10));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pixel_is_written_as_its_number() {
        for number in 0..=255 {
            let mut text = String::new();
            digits(number, &mut text);
            assert_eq!(text, number.to_string());
        }
    }
}
