//! Walks over the runs in a page before the library decodes them: it takes the lengths of their numbers for sound.
//!
//! # Format
//! Apache Parquet, *Encodings*: RLE/bit-packing hybrid, and delta encoding.

/// Longest number of a run, and of a delta.
const RUN_NUMBER_BYTES_MAX: usize = 5;
const DELTA_NUMBER_BYTES_MAX: usize = 10;

/// Runs of values of so many bits, up to `count` values or their end; none where they are damaged.
pub(crate) fn hybrid(bytes: &[u8], bits: u8, count: u64) -> Option<()> {
    let mut walk = Walk { rest: bytes };
    let mut values = 0_u64;
    while values < count && !walk.rest.is_empty() {
        let run = walk.number(RUN_NUMBER_BYTES_MAX)?;
        let (length, bytes) = match run & 1 {
            0 => (run >> 1, u64::from(bits.div_ceil(8))),
            // Groups of eight. The last may be cut where its file ends.
            _ => ((run >> 1) * 8, ((run >> 1) * u64::from(bits)).min(walk.rest.len() as u64)),
        };
        walk.pass(bytes)?;
        values += length;
    }
    Some(())
}

/// How long delta-encoded whole numbers are; none where they are damaged.
pub(crate) fn deltas(bytes: &[u8]) -> Option<usize> {
    let mut walk = Walk { rest: bytes };
    let mut number = || walk.number(DELTA_NUMBER_BYTES_MAX);
    let [block, of_block, mut left, _first] = [number()?, number()?, number()?, number()?];
    let values = block.checked_div(of_block).filter(|values| *values > 0)?;
    left = left.max(1) - 1;
    while left > 0 {
        walk.number(DELTA_NUMBER_BYTES_MAX)?;
        let (widths, rest) = walk.rest.split_at_checked(usize::try_from(of_block).ok()?)?;
        walk.rest = rest;
        for width in widths {
            if left == 0 {
                break;
            }
            walk.pass(values.checked_mul(u64::from(*width))?.div_ceil(8))?;
            left -= left.min(values);
        }
    }
    Some(bytes.len() - walk.rest.len())
}

struct Walk<'a> {
    rest: &'a [u8],
}

impl Walk<'_> {
    fn number(&mut self, bytes_max: usize) -> Option<u64> {
        let length = self.rest.iter().position(|byte| *byte < 0x80)? + 1;
        let (number, rest) = self.rest.split_at_checked(length.min(bytes_max))?;
        self.rest = rest;
        let add = |(place, byte): (usize, &u8)| u64::from(byte & 0x7f) << (7 * place);
        (length <= bytes_max).then(|| number.iter().enumerate().map(add).fold(0, |sum, part| sum | part))
    }

    fn pass(&mut self, bytes: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_walked_to_their_last_value() {
        // Five times a 3, then eight values of 3 bits each.
        let runs = [10, 3, 3, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        assert_eq!(hybrid(&runs, 3, 13), Some(()));
        assert_eq!(hybrid(&runs[..4], 3, 13), Some(()), "the last group is cut");
        assert_eq!(hybrid(&runs[..1], 3, 13), None, "a run has no value");
        let endless = [&runs[..2], &[0x80; 9]].concat();
        assert_eq!(hybrid(&endless, 3, 5), Some(()), "nobody reads further");
        assert_eq!(hybrid(&endless, 3, 6), None);
        assert_eq!(hybrid(&[0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0], 3, 9), None);
    }

    #[test]
    fn deltas_are_as_long_as_their_blocks() {
        // 7, 5, 3, 1, 2, 3, 4, 5: the specification's second example, in a block of 128 and 4 parts.
        let eight = [&[128, 1, 4, 8, 14, 3, 2, 0, 0, 0][..], &[0xc0, 0x3f, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(deltas(&[&eight[..], b"behind"].concat()), Some(eight.len()));
        for end in 0..eight.len() {
            assert_eq!(deltas(&eight[..end]), None, "{end}");
        }
        assert_eq!(deltas(&[128, 1, 4, 0, 0]), Some(5), "no value");
        assert_eq!(deltas(&[0, 0, 8, 14, 3]), None, "blocks of nothing");
        assert_eq!(deltas(&[&[128, 1, 4, 8, 14][..], &[0x80; 10], &[1]].concat()), None);
    }
}
