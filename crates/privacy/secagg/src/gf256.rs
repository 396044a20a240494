//! GF(2^8) with the AES polynomial x^8 + x^4 + x^3 + x + 1, without tables and without branches on values.

/// A row of field elements: one secret's bytes, computed side by side so that the loops vectorise.
pub(crate) type Row = [u8; 32];

/// The product.
///
/// # Security
/// Constant time: a table would be read at secret places.
pub(crate) fn mul(a: u8, b: u8) -> u8 {
    (0..8).rev().fold(0, |product, bit| times_x(product) ^ (a & bit_mask(b, bit)))
}

/// The inverse, `a^254`; that of zero is zero.
pub(crate) fn inverse(a: u8) -> u8 {
    // a^254 = a^(2 + 4 + ... + 128).
    let mut power = a;
    let mut product = 1;
    for _ in 0..7 {
        power = mul(power, power);
        product = mul(product, power);
    }
    product
}

/// Multiplies every element of `row` by `factor`. Constant time.
pub(crate) fn scale(row: &mut Row, factor: u8) {
    let mut product = [0; 32];
    for bit in (0..8).rev() {
        let mask = bit_mask(factor, bit);
        for (to, from) in product.iter_mut().zip(row.iter()) {
            *to = times_x(*to) ^ (from & mask);
        }
    }
    *row = product;
}

/// Adds `other` to `row`.
pub(crate) fn add(row: &mut Row, other: &Row) {
    for (to, from) in row.iter_mut().zip(other) {
        *to ^= from;
    }
}

fn times_x(a: u8) -> u8 {
    (a << 1) ^ (0x1b & 0u8.wrapping_sub(a >> 7))
}

fn bit_mask(value: u8, bit: u32) -> u8 {
    0u8.wrapping_sub((value >> bit) & 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long division by the polynomial, as a textbook has it.
    fn product_by_division(a: u8, b: u8) -> u8 {
        let mut product =
            (0..8).filter(|bit| b >> bit & 1 == 1).fold(0u32, |sum, bit| sum ^ (u32::from(a) << bit));
        for degree in (8..16).rev() {
            if product >> degree & 1 == 1 {
                product ^= 0x11b << (degree - 8);
            }
        }
        product as u8
    }

    #[test]
    fn every_product_is_the_polynomial_one() {
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(mul(a, b), product_by_division(a, b), "{a} * {b}");
            }
        }
    }

    #[test]
    fn multiplication_is_associative_and_distributes_everywhere() {
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                let ab = mul(a, b);
                for c in 0..=255u8 {
                    assert_eq!(mul(ab, c), mul(a, mul(b, c)));
                    assert_eq!(mul(a, b ^ c), ab ^ mul(a, c));
                }
            }
        }
    }

    #[test]
    fn every_element_but_zero_has_its_inverse() {
        assert_eq!(inverse(0), 0);
        for a in 1..=255 {
            assert_eq!(mul(a, inverse(a)), 1, "{a}");
        }
    }

    #[test]
    fn rows_scale_element_by_element() {
        for factor in 0..=255u8 {
            let original: Row = std::array::from_fn(|i| (i as u8).wrapping_mul(37) ^ 0x5a);
            let mut row = original;
            scale(&mut row, factor);
            assert!(row.iter().zip(original).all(|(got, a)| *got == mul(a, factor)));
        }
    }
}
