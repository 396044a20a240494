//! Small, seeded mutations of known inputs: what libFuzzer does, without its feedback.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};

const INPUT_BYTES_MAX: usize = 16 << 10;

/// Words of the formats, and lengths that no input has.
const WORDS: [&[u8]; 18] = [
    b"null",
    b"1e400",
    b"-1",
    b"\"",
    b"\\u0000",
    b"[[[[[[[[",
    b"{\"a\":",
    b",",
    b"\r\n",
    b"\n[a.b]\n",
    b"F32",
    b"FMJL",
    b"FMOS",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x10",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\0\0\0\0\0\0\0\0",
];

pub(crate) struct Mutator<'a> {
    rng: ChaCha20Rng,
    known: &'a [Vec<u8>],
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(seed: u64, known: &'a [Vec<u8>]) -> Self {
        Self { rng: ChaCha20Rng::seed_from_u64(seed), known }
    }

    /// A known input, changed one to four times.
    pub(crate) fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.any_known().clone();
        for _ in 0..=self.below(4) {
            self.change(&mut input);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let end = at + self.below((input.len() - at).min(64) + 1);
        match self.below(8) {
            0 | 1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
            2 => {
                let value = [0, 1, 0x7f, 0x80, 0xff][self.below(5)];
                if let Some(byte) = input.get_mut(at) {
                    *byte = value;
                }
            }
            3 => drop(input.drain(at..end)),
            4 => {
                let copied = input[at..end].to_vec();
                input.splice(at..at, copied);
            }
            5 => {
                let other = self.any_known();
                let from = self.below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
            6 => input.truncate(at),
            _ => {
                let word = WORDS[self.below(WORDS.len())];
                let end = if self.below(2) == 0 { at } else { (at + word.len()).min(input.len()) };
                input.splice(at..end, word.iter().copied());
            }
        }
    }

    fn any_known(&mut self) -> &'a Vec<u8> {
        let nth = self.below(self.known.len());
        &self.known[nth]
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.next_u64() as usize % bound
    }
}
