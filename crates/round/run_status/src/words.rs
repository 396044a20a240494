//! The words of a status: each is declared once, with its number and its text.

use std::fmt;

use serde::{Serialize, Serializer};

/// An enumeration whose members travel by number, and are written by word. 0 is what this release does not know.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($member:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            /// What this release does not know.
            Unknown,
            $(#[doc = concat!("\"", $word, "\".")] $member,)*
        }

        impl $name {
            /// All that this release knows, in the order of their numbers, which begin with 1.
            pub const ALL: &'static [Self] = &[$(Self::$member,)*];

            /// Its word: in the JSON of a status, and for people.
            pub fn word(self) -> &'static str {
                match self {
                    Self::Unknown => "unknown",
                    $(Self::$member => $word,)*
                }
            }

            /// Its number, as it travels.
            pub fn number(self) -> i32 {
                self as i32
            }

            /// The one of this number.
            pub fn numbered(number: i32) -> Self {
                Self::ALL.iter().copied().find(|one| one.number() == number).unwrap_or(Self::Unknown)
            }

            /// The one of this word.
            pub fn of(word: &str) -> Self {
                Self::ALL.iter().copied().find(|one| one.word() == word).unwrap_or(Self::Unknown)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }
    };
}

words! {
    /// The step that a run is in.
    RunPhase {
        NotStarted = "not started",
        GatheringSilos = "gathering silos",
        Training = "training",
        SharingKeys = "sharing keys",
        MaskedInput = "masked input",
        ConsistencyCheck = "consistency check",
        Unmasking = "unmasking",
        OpeningTheSum = "opening the sum",
        Ended = "ended",
    }
}

words! {
    /// What a member is doing.
    Standing {
        Barred = "barred",
        Refuses = "refuses",
        LeftOut = "left out",
        Awaited = "awaited",
        Answered = "answered",
        CheckedIn = "checked in",
        Connected = "connected",
        NotConnected = "not connected",
    }
}

words! {
    /// What is waited for.
    Owed {
        Nothing = "nothing",
        CheckIn = "check-in",
        Adverts = "training and advertised keys",
        KeyShares = "key shares",
        MaskedVector = "a masked vector",
        Signature = "a signature on the included set",
        UnmaskShares = "unmask shares",
    }
}

words! {
    /// How a run ended.
    Ending {
        Complete = "complete",
        BudgetSpent = "budget spent",
        Refused = "refused",
        Stopped = "stopped",
    }
}

words! {
    /// Where a run of a federation is.
    RunState {
        Queued = "queued",
        Waiting = "waiting",
        Running = "running",
        Paused = "paused",
        Finished = "finished",
        Stopped = "stopped",
    }
}

impl RunState {
    /// Whether the run goes on no more, however it ended.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_and_each_number_says_which_it_is_and_others_are_unknown() {
        for phase in RunPhase::ALL {
            assert_eq!((RunPhase::of(phase.word()), RunPhase::numbered(phase.number())), (*phase, *phase));
        }
        assert_eq!(RunPhase::Ended.number(), 9, "numbers begin with 1 and leave none out");
        for (word, number) in [("unknown", 0), ("lunch", 10), ("", -1)] {
            assert_eq!(
                (RunPhase::of(word), RunPhase::numbered(number)),
                (RunPhase::Unknown, RunPhase::Unknown)
            );
        }
    }
}
