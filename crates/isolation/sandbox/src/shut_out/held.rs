//! The kernel's side: one ruleset of Landlock's, and a filter of system calls.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};

use super::{Access, Rule, unreachable};
use crate::{Demand, FilterDigest, SealError, linux};

/// The newest version of the interface that these rules were read against. An older kernel holds what it knows of them.
const KNOWN: ABI = ABI::V10;

/// Leaves these paths to the process, and what its own work needs of the kernel. Returns the version of Landlock's interface, 0 where
/// there is none, and the filter, each only where it can be had or is required.
///
/// The standard input is given up first: a file of the data would stay open by it.
pub(super) fn hold(paths: &[Rule], demand: Demand) -> Result<(u8, Option<FilterDigest>), SealError> {
    let tasks = Path::new("/proc/self/task");
    let threads = std::fs::read_dir(tasks).map_err(unreachable(tasks))?.count();
    if threads != 1 {
        return Err(SealError::Threads(threads));
    }
    linux::give_up_input()?;
    let landlock = match restrict(paths) {
        Ok(Some(version)) => version,
        Ok(None) if demand == Demand::Required => return Err(SealError::NoLandlock(None)),
        Err(fault) if demand == Demand::Required => return Err(SealError::NoLandlock(Some(Box::new(fault)))),
        Ok(None) | Err(_) => 0,
    };
    Ok((landlock, linux::install_shut_out(demand)?))
}

/// The version of the interface in force; none where the kernel has no Landlock. The network stays: that is what the process is for.
fn restrict(paths: &[Rule]) -> Result<Option<u8>, RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    for (path, access) in paths {
        // What has gone since it was listed is nobody's to read.
        let Ok(opened) = PathFd::new(path) else { continue };
        rules = rules.add_rule(PathBeneath::new(opened, rights(path, *access)))?;
    }
    let reached = rules.restrict_self()?;
    Ok(match reached.landlock {
        LandlockStatus::Available { effective_abi, .. } if reached.ruleset != RulesetStatus::NotEnforced => {
            Some(effective_abi as u8)
        }
        _ => None,
    })
}

/// Nothing is executed. In a folder to write in there are files and folders, which move between the folders of it; no links, by
/// which other files would get names there, no sockets, pipes or devices.
fn rights(path: &Path, access: Access) -> BitFlags<AccessFs> {
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let rights = match access {
        Access::Read | Access::Follow => read,
        Access::Write => {
            read | make_bitflags!(
                AccessFs::{WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer}
            )
        }
    };
    if path.is_dir() { rights } else { rights & AccessFs::from_file(KNOWN) }
}
