//! Where a client's first message ends: what it sends before that is no effort of its own.

/// Of the first record its type, two bytes of version and two of length; of its message the type and three of length.
const HEAD: usize = 9;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Counts a connection's bytes up to the end of its ClientHello.
#[derive(Debug, Default)]
pub(super) struct Hello {
    head: Vec<u8>,
    after: usize,
    whole: bool,
}

impl Hello {
    /// Whether it ends in these bytes.
    pub(super) fn ends_in(&mut self, bytes: &[u8]) -> bool {
        if self.whole || bytes.is_empty() {
            return false;
        }
        let (head, rest) = bytes.split_at(bytes.len().min(HEAD - self.head.len()));
        self.head.extend(head);
        self.after = self.after.saturating_add(rest.len());
        let [HANDSHAKE, _, _, _, _, CLIENT_HELLO, length @ ..] = self.head.as_slice() else { return false };
        let &[high, middle, low] = length else { return false };
        self.whole = self.after >= u32::from_be_bytes([0, high, middle, low]) as usize;
        self.whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_hello_ends_with_its_last_byte_however_it_is_cut_and_nothing_else_is_one() {
        let mut message = vec![22, 3, 1, 1, 4, 1, 0, 1, 0];
        message.extend([7; 256]);
        for cut in 1..message.len() {
            let mut hello = Hello::default();
            assert!(!hello.ends_in(&message[..cut]), "{cut}");
            assert!(hello.ends_in(&message[cut..]), "{cut}");
            assert!(!hello.ends_in(&message), "once");
        }
        for other in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[22], &[22, 3, 1, 0, 4, 2, 0, 0, 0, 1]] {
            assert!(!Hello::default().ends_in(other));
        }
    }
}
