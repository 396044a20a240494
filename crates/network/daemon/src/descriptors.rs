//! How many files and connections a process may have open.

/// Where the system sets no limit, and where it does not say.
const UNLIMITED: u64 = 1 << 20;
const UNKNOWN: u64 = 1024;

/// Raises the soft limit of open files to the hard one, as far as it goes; gives what holds now.
///
/// The soft limit is kept low for programs that cannot count beyond 1024, which this is not.
#[cfg(unix)]
pub fn raise_descriptors() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // A refusal leaves the soft limit as it is.
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum.unwrap_or(UNLIMITED),
        Err(_) => current.unwrap_or(UNKNOWN),
    }
}

/// Elsewhere than on Unix nobody says.
#[cfg(not(unix))]
pub fn raise_descriptors() -> u64 {
    UNKNOWN
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::process::{Resource, getrlimit};

    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one_and_counted() {
        let raised = raise_descriptors();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(raised, limit.current.unwrap_or(UNLIMITED));
        assert_eq!(raise_descriptors(), raised);
    }
}
