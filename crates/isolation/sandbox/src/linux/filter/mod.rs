//! The filters of system calls. A sealed process has a list of what is let through, and everything else is answered with EPERM; one that
//! is shut out of data has a list of what is refused.
//!
//! Each is several programs, of which the kernel takes the sternest answer: what is killed, what does not exist, what is refused.

mod calls;
mod denied;
mod rules;

use std::error::Error;

use seccompiler::{BackendError, BpfProgram, apply_filter};
use sha2::{Digest, Sha256};

use crate::{Demand, FilterDigest, SealError, SealProfile};

/// Installs the filter of a profile: the last step, for it lets none of the others through. None is installed where the kernel or
/// the processor has none and that is not required.
pub(super) fn install(profile: SealProfile, demand: Demand) -> Result<Option<FilterDigest>, SealError> {
    as_far_as_demanded(try_install(|process| rules::programs(profile, process)), demand)
}

/// The same of a process that is shut out of data.
pub(crate) fn install_shut_out(demand: Demand) -> Result<Option<FilterDigest>, SealError> {
    as_far_as_demanded(try_install(rules::of_shut_out), demand)
}

type Installed = Result<FilterDigest, Box<dyn Error + Send + Sync>>;

fn as_far_as_demanded(installed: Installed, demand: Demand) -> Result<Option<FilterDigest>, SealError> {
    match installed {
        Ok(digest) => Ok(Some(digest)),
        Err(fault) if demand == Demand::Required => Err(SealError::NoFilter(fault)),
        Err(_) => Ok(None),
    }
}

/// Of the programs for the process of a number.
fn try_install(programs: impl Fn(u32) -> Result<Vec<BpfProgram>, BackendError>) -> Installed {
    let digest = digest(&programs(0)?);
    for program in programs(std::process::id())? {
        apply_filter(&program)?;
    }
    Ok(digest)
}

/// Of the programs for process 0, so that it names the filter and not the process: that it may signal itself alone is in them.
fn digest(programs: &[BpfProgram]) -> FilterDigest {
    let mut hash = Sha256::new();
    for program in programs {
        hash.update((program.len() as u64).to_le_bytes());
        for instruction in program {
            hash.update(instruction.code.to_le_bytes());
            hash.update([instruction.jt, instruction.jf]);
            hash.update(instruction.k.to_le_bytes());
        }
    }
    FilterDigest(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_names_a_profiles_filter_and_not_the_process_it_holds() {
        let of = |profile, process| digest(&rules::programs(profile, process).unwrap());
        assert_eq!(of(SealProfile::Native, 0), of(SealProfile::Native, 0));
        assert_ne!(of(SealProfile::Native, 0), of(SealProfile::Interpreter, 0));
        assert_ne!(of(SealProfile::Native, 0), of(SealProfile::Native, 1));
        assert_ne!(of(SealProfile::Native, 0), digest(&rules::of_shut_out(0).unwrap()));
    }
}
