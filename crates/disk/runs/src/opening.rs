//! SumOpening a sum, away from the driver: read the staged vectors, add them, remove the masks, step the model.

use std::io::{BufReader, Read};

use optim::State;
use params::{Digest, Params};
use plan::AuthoredPlan;
use protocol::{NextModel, SumFailure, SumJob, next_model};
use rand::rngs::SysRng;
use rand_core::UnwrapErr;
use sha2::{Digest as _, Sha256};

/// Bytes read at once: whole lanes, small enough to stay in cache.
const READ_BYTES: usize = 64 << 10;

/// Why a sum was not opened.
#[derive(Debug)]
pub enum OpeningError {
    /// The round ends by this name.
    Round(SumFailure),
    /// The operating system did not give what it holds: that says nothing of the round.
    Disk(std::io::Error),
}

impl From<SumFailure> for OpeningError {
    fn from(why: SumFailure) -> Self {
        Self::Round(why)
    }
}

/// What the worker needs, all of it owned.
pub struct SumOpening {
    pub job: SumJob,
    pub plan: AuthoredPlan,
    /// One reader for each of the job's uploads, in their order.
    pub vectors: Vec<Box<dyn Read + Send>>,
    pub params: Params,
    pub state: State,
}

impl SumOpening {
    /// Opens the sum. Memory is one vector, however many are summed.
    ///
    /// # Errors
    /// [`OpeningError`]; a staged vector that is not the announced one is a bad aggregate, since its owner was promised
    /// that it is in the sum.
    pub fn run(self) -> Result<NextModel, OpeningError> {
        let mut sum = vec![0u32; self.plan.lanes()];
        for (header, vector) in self.job.uploads.iter().zip(self.vectors) {
            add(&mut sum, vector)
                .and_then(|digest| {
                    if digest == header.digest {
                        Ok(())
                    } else {
                        Err(std::io::Error::other("its bytes are not the announced ones"))
                    }
                })
                .map_err(|why| {
                    if is_disk(&why) {
                        return OpeningError::Disk(why);
                    }
                    let what = format!("client {}'s staged vector: {why}", header.client);
                    SumFailure::BadAggregate(what).into()
                })?;
        }
        let mechanism = self.plan.mechanism();
        let mechanism = mechanism.map_err(|why| SumFailure::BadAggregate(why.to_string()))?;
        let removal = self.job.removal()?;
        mechanism.remove_excess(&mut sum, removal.excess()).map_err(SumFailure::BadAggregate)?;
        removal.remove(&mut sum);
        // Straight from the operating system: a sum that is opened again after a crash gets other noise, and nobody saw it.
        mechanism.noise_sum(&mut sum, &mut UnwrapErr(SysRng));
        Ok(next_model(&self.plan, &sum, self.job.included.len(), &self.params, self.state)?)
    }
}

/// Whether the operating system is what failed, and not what lies on the disk.
pub fn is_disk(why: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(why);
    while let Some(error) = cause {
        // What an `io::Error` wraps is not among its sources, but in it.
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            if error.raw_os_error().is_some() {
                return true;
            }
            if error.get_ref().is_some_and(|inner| is_disk(inner)) {
                return true;
            }
        }
        cause = error.source();
    }
    false
}

/// Adds a vector's lanes to the sum as they are read, and returns the digest of its bytes.
fn add(sum: &mut [u32], vector: impl Read) -> std::io::Result<Digest> {
    let mut reader = BufReader::with_capacity(READ_BYTES, vector);
    let mut bytes = vec![0u8; READ_BYTES];
    let mut hash = Sha256::new();
    for lanes in sum.chunks_mut(READ_BYTES / 4) {
        // Never more lanes than the buffer has room for.
        let (block, _) = bytes.split_at_mut(lanes.len() * 4);
        reader.read_exact(block)?;
        hash.update(&*block);
        for (lane, bytes) in lanes.iter_mut().zip(block.chunks_exact(4)) {
            let mut word = [0u8; 4];
            word.copy_from_slice(bytes);
            *lane = lane.wrapping_add(u32::from_le_bytes(word));
        }
    }
    if reader.read(&mut [0u8; 1])? != 0 {
        return Err(std::io::Error::other("it is longer than the plan's vector"));
    }
    Ok(Digest::from_bytes(hash.finalize().into()))
}
