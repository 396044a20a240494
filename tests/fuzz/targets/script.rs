//! Bytes read as instructions. A script that ends early ends: every input is one.

/// What is left of an input.
pub(crate) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        let (first, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_le_bytes(*first))
    }

    /// As many bytes as a length in front of them says, or all there are.
    pub(crate) fn piece(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u16()?);
        let (piece, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        Some(piece)
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// The reverse of [`Script::piece`], for seeds.
pub(crate) fn piece(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a piece of a seed is short");
    [&length.to_le_bytes()[..], bytes].concat()
}
