//! What a spawner gives up before it does anything.

use super::Broken;

/// Gives up: privileges that an executable would bring, a memory image on disk, being looked into by processes of the same
/// user, and, where the machine allows it, the network. Says whether there is no network.
///
/// It has no parent-death signal: that follows the thread that started it, and a daemon's threads come and go. It does not
/// need one, since the control socket is at its end when the daemon is.
#[cfg(target_os = "linux")]
pub(super) fn restrict() -> Result<bool, Broken> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(cannot("forbid core dumps"))?;
    rustix::thread::set_no_new_privs(true).map_err(cannot("renounce new privileges"))?;
    // Before it is no longer its user's own to look into: the maps of a user's namespace are written through /proc.
    let no_network = no_network();
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(cannot("keep others from looking into it"))?;
    Ok(no_network)
}

#[cfg(target_os = "linux")]
fn cannot(what: &'static str) -> impl Fn(rustix::io::Errno) -> Broken {
    move |why| Broken::Unrestricted { what, source: why.into() }
}

/// Leaves the network, by privilege or in a user namespace of its own. In that one it stays the user that it was, so that a
/// trainer can leave further namespaces itself.
#[cfg(target_os = "linux")]
#[expect(deprecated, reason = "descriptors stay shared, which is all that the other function warns of")]
fn no_network() -> bool {
    use rustix::process::{getegid, geteuid};
    use rustix::thread::{UnshareFlags, unshare};

    if unshare(UnshareFlags::NEWNET).is_ok() {
        return true;
    }
    let (user, group) = (geteuid(), getegid());
    if unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET).is_err() {
        return false;
    }
    // Without them it would be nobody there, and have no network all the same.
    for (file, map) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{0} {0} 1", user.as_raw())),
        ("/proc/self/gid_map", format!("{0} {0} 1", group.as_raw())),
    ] {
        let _ = std::fs::write(file, map);
    }
    true
}

#[cfg(not(target_os = "linux"))]
pub(super) fn restrict() -> Result<bool, Broken> {
    Ok(false)
}
