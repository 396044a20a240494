use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    make_bitflags,
};
use rustix::fs::{FileType, fstat};

use crate::{Demand, Seal, SealError};

/// The newest version of the interface that these rules were read against. An older kernel holds what it knows of them.
const KNOWN: ABI = ABI::V10;

/// What any numerical library asks before it computes: how many processors there are, and how large their caches. Two that were
/// answered differently need not add in the same order; one that is not answered at all may start a program to find out, which is
/// the end of a sealed process.
const PROCESSORS: &str = "/sys/devices/system/cpu";

/// Holds the process to its paths, to no TCP and to its own kin (signals, abstract sockets), as far as the kernel can. Returns the
/// version of the interface; 0 where there is none and it is not required.
pub(super) fn hold(seal: &Seal, demand: Demand) -> Result<u8, SealError> {
    let paths = opened(seal)?;
    match restrict(paths) {
        Ok(Some(version)) => Ok(version),
        Ok(None) if demand == Demand::Required => Err(SealError::NoLandlock(None)),
        Err(fault) if demand == Demand::Required => Err(SealError::NoLandlock(Some(Box::new(fault)))),
        Ok(None) | Err(_) => Ok(0),
    }
}

type Allowed = (PathFd, BitFlags<AccessFs>);

/// Every path must be there, whatever is demanded: a path that is missed is not read, and nobody would know why.
fn opened(seal: &Seal) -> Result<Vec<Allowed>, SealError> {
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let execute = read | AccessFs::Execute;
    // No links, sockets, pipes or devices, and nothing moved in from elsewhere.
    let write =
        read | make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir});
    let lists: [(&[PathBuf], _); 3] = [(&seal.read, read), (&seal.runtime, execute), (&seal.write, write)];
    let mut allowed = Vec::new();
    // Not there where a container shows no /sys.
    allowed.extend(open(Path::new(PROCESSORS), read).ok());
    for (paths, access) in lists {
        for path in paths {
            allowed.push(open(path, access)?);
        }
    }
    Ok(allowed)
}

fn open(path: &Path, access: BitFlags<AccessFs>) -> Result<Allowed, SealError> {
    let fault = |source| SealError::Path { path: path.to_owned(), source };
    let opened = PathFd::new(path).map_err(|source| fault(Box::new(source)))?;
    let status = fstat(&opened).map_err(|source| fault(Box::new(source)))?;
    if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
        return Ok((opened, access));
    }
    Ok((opened, access & AccessFs::from_file(KNOWN)))
}

/// The version of the interface in force; none where the kernel has no Landlock.
fn restrict(paths: Vec<Allowed>) -> Result<Option<u8>, RulesetError> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    let add = |rules: RulesetCreated, (path, access)| rules.add_rule(PathBeneath::new(path, access));
    let reached = paths.into_iter().try_fold(rules, add)?.restrict_self()?;
    Ok(match reached.landlock {
        LandlockStatus::Available { effective_abi, .. } if reached.ruleset != RulesetStatus::NotEnforced => {
            Some(effective_abi as u8)
        }
        _ => None,
    })
}
