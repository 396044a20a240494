//! Frames: a head that is text, and a body that is numbers.

use std::fmt;
use std::io::{self, Read};

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// The two lengths before a frame.
pub const PREFIX_BYTES: usize = 12;

/// The most that a reader takes of the next frame, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    pub head: usize,
    pub body: usize,
}

/// One message. What it holds is wiped when dropped.
pub struct Frame {
    head: Zeroizing<Vec<u8>>,
    body: Zeroizing<Vec<u8>>,
}

/// Why there is no frame, or no message in it.
#[derive(Debug, thiserror::Error)]
pub enum FrameFault {
    /// Longer than its reader takes, by the lengths before it.
    #[error("a {part} of {announced} bytes was announced, where {most} are the most")]
    TooLong {
        part: &'static str,
        announced: u64,
        /// The reader's limit, in bytes like what was announced.
        most: usize,
    },
    /// The stream failed, or ended inside a frame.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The head is none of the messages.
    #[error("this is no message: {0}")]
    Message(#[from] serde_json::Error),
}

impl Frame {
    /// This message, with this body.
    ///
    /// # Errors
    /// [`FrameFault::TooLong`], where a length does not fit before a frame.
    pub fn of(message: &impl Serialize, body: &[u8]) -> Result<Self, FrameFault> {
        let head = Zeroizing::new(serde_json::to_vec(message)?);
        if u32::try_from(head.len()).is_err() {
            let (announced, most) = (head.len() as u64, u32::MAX as usize);
            return Err(FrameFault::TooLong { part: "head", announced, most });
        }
        Ok(Self { head, body: Zeroizing::new(body.to_vec()) })
    }

    /// As it travels.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(PREFIX_BYTES + self.head.len() + self.body.len()));
        // `of` and `lengths` hold both to what fits.
        bytes.extend_from_slice(&(self.head.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(self.body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&self.head);
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// The lengths of head and body that these bytes announce.
    ///
    /// # Errors
    /// [`FrameFault::TooLong`]: nothing is read of such a frame, and no memory taken for it.
    pub fn lengths(prefix: [u8; PREFIX_BYTES], limits: FrameLimits) -> Result<(usize, usize), FrameFault> {
        let [h0, h1, h2, h3, body @ ..] = prefix;
        let head = u64::from(u32::from_le_bytes([h0, h1, h2, h3]));
        let within = |part, announced: u64, most: usize| match usize::try_from(announced) {
            Ok(length) if length <= most => Ok(length),
            _ => Err(FrameFault::TooLong { part, announced, most }),
        };
        Ok((within("head", head, limits.head)?, within("body", u64::from_le_bytes(body), limits.body)?))
    }

    /// Of parts that were read by their [`Frame::lengths`].
    pub fn of_parts(head: Zeroizing<Vec<u8>>, body: Zeroizing<Vec<u8>>) -> Self {
        Self { head, body }
    }

    /// The next frame of a stream.
    ///
    /// # Errors
    /// [`FrameFault`]; [`io::ErrorKind::UnexpectedEof`] at the end of the stream.
    pub fn read(stream: &mut impl Read, limits: FrameLimits) -> Result<Self, FrameFault> {
        let mut prefix = [0; PREFIX_BYTES];
        stream.read_exact(&mut prefix)?;
        let (head, body) = Self::lengths(prefix, limits)?;
        let mut exactly = |length| {
            let mut bytes = Zeroizing::new(vec![0; length]);
            stream.read_exact(&mut bytes).map(|()| bytes)
        };
        Ok(Self::of_parts(exactly(head)?, exactly(body)?))
    }

    /// The message that the head is.
    ///
    /// # Errors
    /// [`FrameFault::Message`].
    pub fn message<T: DeserializeOwned>(&self) -> Result<T, FrameFault> {
        Ok(serde_json::from_slice(&self.head)?)
    }

    /// The numbers that the message is about.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Frame({} + {} bytes)", self.head.len(), self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Reply;

    const LIMITS: FrameLimits = FrameLimits { head: 100, body: 100 };

    fn prefix(head: u32, body: u64) -> Vec<u8> {
        [&head.to_le_bytes()[..], &body.to_le_bytes()].concat()
    }

    #[test]
    fn what_is_announced_beyond_the_limits_is_not_read() {
        for (head, body, part) in
            [(101, 0, "head"), (u32::MAX, 0, "head"), (0, 101, "body"), (0, u64::MAX, "body")]
        {
            let why = Frame::read(&mut prefix(head, body).as_slice(), LIMITS).unwrap_err().to_string();
            assert!(
                why.starts_with(&format!("a {part} of ")) && why.ends_with("where 100 are the most"),
                "{why}"
            );
        }
    }

    #[test]
    fn a_stream_that_ends_inside_a_frame_is_told_from_one_that_holds_garbage() {
        let cut = [prefix(5, 0), b"{".to_vec()].concat();
        let why = Frame::read(&mut cut.as_slice(), LIMITS).unwrap_err();
        assert!(matches!(&why, FrameFault::Io(why) if why.kind() == io::ErrorKind::UnexpectedEof), "{why}");
        let garbage = [prefix(3, 0), b"[1]".to_vec()].concat();
        let frame = Frame::read(&mut garbage.as_slice(), LIMITS).unwrap();
        assert!(matches!(frame.message::<Reply>(), Err(FrameFault::Message(_))));
    }

    proptest! {
        #[test]
        fn frames_follow_each_other_in_a_stream(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..4)) {
            let mut stream = Vec::new();
            for (job, body) in (0..).zip(&bodies) {
                let said = Reply::Failed { job, data: false, why: "no".into() };
                stream.extend_from_slice(&Frame::of(&said, body).unwrap().to_bytes());
            }
            let mut stream = stream.as_slice();
            for (job, body) in (0..).zip(&bodies) {
                let heard = Frame::read(&mut stream, LIMITS).unwrap();
                let said = Reply::Failed { job, data: false, why: "no".into() };
                prop_assert_eq!(heard.message::<Reply>().unwrap(), said);
                prop_assert_eq!(heard.body(), &body[..]);
            }
            prop_assert!(stream.is_empty());
        }
    }
}
