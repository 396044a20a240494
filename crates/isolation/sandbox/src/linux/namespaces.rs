use std::collections::BTreeSet;

use nix::sched::{CloneFlags, unshare};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
};

use super::{limits, step};
use crate::{Namespace, SealError};

/// Leaves the machine's namespaces where that is allowed, and every capability in any case.
///
/// Whoever is refused here (a container, a unit with `RestrictNamespaces=`) goes on without: the filter denies sockets and System V
/// objects as well. In a user namespace of its own that nobody maps, the process has no name, and its rights to files are those of
/// their owner or group, without root's exception.
pub(super) fn leave() -> Result<BTreeSet<Namespace>, SealError> {
    let shared = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    let mut own = BTreeSet::new();
    let with_users = unshare(CloneFlags::CLONE_NEWUSER | shared).is_ok();
    if with_users {
        own.insert(Namespace::User);
        limits::lower_threads()?;
    }
    if with_users || unshare(shared).is_ok() {
        own.extend([Namespace::Net, Namespace::Ipc, Namespace::Uts]);
    }
    drop_capabilities()?;
    Ok(own)
}

/// The bounding set, secure bits and ambient set need a capability to be changed, which a process outside of a namespace of its own
/// may not have; without new privileges they give nothing back to it. What it holds is dropped always.
fn drop_capabilities() -> Result<(), SealError> {
    for number in 0..u64::BITS {
        // Refused without the capability to, and for numbers that the kernel does not know.
        if remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)).is_err() {
            break;
        }
    }
    let locked = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    let _ = set_capabilities_secure_bits(locked);
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    step("drop all capabilities", set_capabilities(None, sets))
}
