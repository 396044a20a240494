//! Which of the session's versions two sides speak.

/// What a session is spoken in. A later version only adds: a peer of an earlier one is said nothing that it does not
/// know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionVersion {
    /// That of the first release.
    Two = 2,
    /// The versions of both sides are signed; a welcome shows the rosters that lead to its own.
    Three = 3,
    /// Each message names its run, so that a session has as many as there are.
    Four = 4,
}

impl SessionVersion {
    /// The oldest that this release still speaks.
    pub const OLDEST: Self = Self::Two;
    /// The newest that this release speaks.
    pub const NEWEST: Self = Self::Four;
    /// What the log and the status call a peer that speaks less than [`SessionVersion::NEWEST`].
    pub const OLDER_PEER: &str = "SPEAKS_OLDER_PROTOCOL";

    /// As it travels.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// Whether each message of a session says which run it is of.
    pub fn names_runs(self) -> bool {
        self.number() >= 4
    }

    /// The version of this number; `None` where this release does not speak it.
    pub fn of(number: u32) -> Option<Self> {
        [Self::Two, Self::Three, Self::Four].into_iter().find(|version| version.number() == number)
    }
}

impl std::fmt::Display for SessionVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.number().fmt(f)
    }
}
