use std::collections::BTreeSet;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Demand, SealProfile};

/// What the seal of a process reached on its machine. A statement of the process about itself: whoever shows it vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// What was asked for.
    pub demand: Demand,
    /// For which kind of program.
    pub profile: SealProfile,
    /// The version of Landlock's interface that holds the process to its paths; 0 where the kernel has none.
    pub landlock: u8,
    /// The filter of system calls, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterDigest>,
    /// What the process has of its own, and shares with nobody.
    #[serde(default)]
    pub namespaces: BTreeSet<Namespace>,
}

impl Level {
    /// No seal at all.
    #[must_use]
    pub fn none(demand: Demand, profile: SealProfile) -> Self {
        Self { demand, profile, landlock: 0, filter: None, namespaces: BTreeSet::new() }
    }

    /// Whether it is what [`Demand::Required`] asks for, whatever was asked for: paths held by Landlock, system calls by a filter,
    /// and by that no network.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.landlock > 0 && self.filter.is_some()
    }

    /// Whether the process can reach no network: its filter knows no socket, or it has a network of its own with nobody else in it.
    #[must_use]
    pub fn has_no_network(&self) -> bool {
        self.filter.is_some() || self.namespaces.contains(&Namespace::Net)
    }

    /// Whether something holds a process of the other level that does not hold one of this: an older Landlock, another filter of system
    /// calls, a namespace that is shared. Nothing does where the other was asked for no seal.
    #[must_use]
    pub fn is_below(&self, other: &Self) -> bool {
        other.demand != Demand::Off
            && (self.demand != other.demand
                || self.profile != other.profile
                || self.landlock < other.landlock
                || other.filter.is_some() && self.filter != other.filter
                || !self.namespaces.is_superset(&other.namespaces))
    }

    /// In few words, for whoever is not at this machine: what was asked for, and the name of each thing that was reached with its
    /// version or the first digits of its digest, as `required: landlock 7, seccomp 3f2a90c1d4e5, namespaces`. It says nothing of the machine
    /// beyond that, and is the same as long as configuration, program and machine are.
    #[must_use]
    pub fn word(&self) -> String {
        let Self { demand, profile, landlock, filter, namespaces } = self;
        if *demand == Demand::Off {
            return demand.to_string();
        }
        let mut reached = Vec::new();
        if *profile == SealProfile::Interpreter {
            reached.push(profile.to_string());
        }
        if *landlock > 0 {
            reached.push(format!("landlock {landlock}"));
        }
        reached.extend(filter.map(|digest| format!("seccomp {digest:.12}")));
        if !namespaces.is_empty() {
            reached.push("namespaces".to_owned());
        }
        match reached.as_slice() {
            [] => demand.to_string(),
            reached => format!("{demand}: {}", reached.join(", ")),
        }
    }
}

impl fmt::Display for Level {
    /// One line, for logs and people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { demand, profile, landlock, filter, namespaces } = self;
        if *demand == Demand::Off {
            return write!(f, "off ({profile} profile): nothing holds this process");
        }
        write!(f, "{demand} ({profile} profile): ")?;
        match landlock {
            0 => write!(f, "no Landlock, ")?,
            abi => write!(f, "Landlock ABI {abi}, ")?,
        }
        match filter {
            None => write!(f, "no filter of system calls, ")?,
            Some(digest) => write!(f, "filter {digest}, ")?,
        }
        let names: Vec<&str> = namespaces.iter().map(|namespace| namespace.name()).collect();
        match names.as_slice() {
            [] => write!(f, "no namespaces of its own"),
            names => write!(f, "own namespaces {}", names.join("+")),
        }
    }
}

/// A namespace of the kernel that a process can have for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Namespace {
    /// Users and capabilities.
    User,
    /// Interfaces, ports and abstract sockets.
    Net,
    /// System V objects and message queues.
    Ipc,
    /// Host and domain names.
    Uts,
}

impl Namespace {
    /// As the kernel calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
        }
    }
}

/// SHA-256 of the programs that filter system calls: the same for every process of one profile, one build and one processor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterDigest(pub [u8; 32]);

impl fmt::Display for FilterDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // With a precision, its first digits.
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for FilterDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FilterDigest({self})")
    }
}

impl Serialize for FilterDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FilterDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut digest = [0; 32];
        hex::decode_to_slice(&text, &mut digest).map_err(D::Error::custom)?;
        Ok(Self(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Level {
        let filter = Some(FilterDigest([0xab; 32]));
        let namespaces = BTreeSet::from([Namespace::Net, Namespace::User]);
        Level { demand: Demand::Required, profile: SealProfile::Native, landlock: 7, filter, namespaces }
    }

    #[test]
    fn a_level_says_in_one_line_what_was_reached_and_what_was_not() {
        let digest = "ab".repeat(32);
        let whole =
            format!("required (native profile): Landlock ABI 7, filter {digest}, own namespaces user+net");
        assert_eq!(full().to_string(), whole);
        let bare = Level::none(Demand::BestEffort, SealProfile::Interpreter).to_string();
        assert_eq!(
            bare,
            "best_effort (interpreter profile): no Landlock, no filter of system calls, no namespaces of its own"
        );
        let off = Level::none(Demand::Off, SealProfile::Native).to_string();
        assert_eq!(off, "off (native profile): nothing holds this process");
    }

    #[test]
    fn a_level_is_below_another_where_anything_that_holds_the_other_is_missing() {
        let none = |demand| Level::none(demand, SealProfile::Native);
        for below in [
            none(Demand::Required),
            none(Demand::Off),
            Level { landlock: 6, ..full() },
            Level { filter: None, ..full() },
            Level { filter: Some(FilterDigest([0; 32])), ..full() },
            Level { namespaces: BTreeSet::from([Namespace::User]), ..full() },
            Level { profile: SealProfile::Interpreter, ..full() },
            Level { demand: Demand::BestEffort, ..full() },
        ] {
            assert!(below.is_below(&full()), "{below}");
            assert!(!below.is_below(&below) && !below.is_below(&none(Demand::Off)), "{below}");
        }
        assert!(!Level { landlock: 8, ..full() }.is_below(&full()));
    }

    #[test]
    fn a_level_has_a_word_for_others_that_names_what_was_reached() {
        assert_eq!(full().word(), "required: landlock 7, seccomp abababababab, namespaces");
        let bare = |demand, profile| Level::none(demand, profile).word();
        assert_eq!(bare(Demand::Off, SealProfile::Interpreter), "off");
        assert_eq!(bare(Demand::BestEffort, SealProfile::Native), "best_effort");
        let older = Level { filter: None, profile: SealProfile::Interpreter, ..full() };
        assert_eq!(older.word(), "required: interpreter, landlock 7, namespaces");
    }

    #[test]
    fn a_level_is_full_with_both_landlock_and_a_filter_and_reads_back_as_it_was() {
        let reached = full();
        assert!(reached.is_full() && reached.has_no_network());
        assert!(!Level { landlock: 0, ..full() }.is_full());
        let unfiltered = Level { filter: None, ..full() };
        assert!(!unfiltered.is_full() && unfiltered.has_no_network());
        for level in [reached, unfiltered, Level::none(Demand::Off, SealProfile::Native)] {
            let text = serde_json::to_string(&level).unwrap();
            assert_eq!(serde_json::from_str::<Level>(&text).unwrap(), level);
        }
        assert!(serde_json::from_str::<FilterDigest>("\"abcd\"").is_err());
    }
}
