//! Whether a client asks for anything: what it sends is HTTP/2's preface, then frames.

/// Bytes of the preface, `PRI * HTTP/2.0…`.
const PREFACE_BYTES: u64 = 24;
const HEAD_BYTES: usize = 9;
/// Types of frames that are a request's: DATA and HEADERS. Settings and pings are nobody's work.
const OF_A_REQUEST: [u8; 2] = [0, 1];

/// Follows the frames' heads. It judges nothing: what is no HTTP/2 fails behind it.
#[derive(Debug)]
pub(super) struct Requests {
    skip: u64,
    head: [u8; HEAD_BYTES],
    filled: usize,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self { skip: PREFACE_BYTES, head: [0; HEAD_BYTES], filled: 0 }
    }

    /// Whether a frame of a request begins in the next bytes.
    pub(super) fn begin_in(&mut self, mut bytes: &[u8]) -> bool {
        let mut found = false;
        while !bytes.is_empty() {
            let skipped = bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            self.skip -= skipped as u64;
            bytes = bytes.get(skipped..).unwrap_or_default();
            for byte in bytes.iter().take(HEAD_BYTES - self.filled) {
                if let Some(place) = self.head.get_mut(self.filled) {
                    *place = *byte;
                }
                self.filled += 1;
                bytes = bytes.get(1..).unwrap_or_default();
            }
            if self.filled == HEAD_BYTES {
                let [a, b, c, kind, ..] = self.head;
                self.skip = u64::from(u32::from_be_bytes([0, a, b, c]));
                self.filled = 0;
                found |= OF_A_REQUEST.contains(&kind);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 0], payload].concat()
    }

    #[test]
    fn settings_and_pings_ask_for_nothing_and_headers_do_however_the_bytes_are_cut() {
        let idle =
            [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, &[1; 18]), &frame(6, &[1; 8])].concat();
        let asked = [idle.clone(), frame(1, b"headers")].concat();
        for step in 1..=asked.len() {
            let mut requests = Requests::new();
            assert!(!idle.chunks(step).any(|bytes| requests.begin_in(bytes)), "{step}");
            let mut requests = Requests::new();
            let found: Vec<bool> = asked.chunks(step).map(|bytes| requests.begin_in(bytes)).collect();
            assert_eq!(found.iter().filter(|found| **found).count(), 1, "{step}");
        }
    }
}
