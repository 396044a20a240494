//! What a silo says of what holds its trainers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The sandbox of a silo's trainers: what its configuration asks for and what its machine reached, as
/// `required: landlock 7, seccomp 3f2a90c1d4e5, namespaces`.
///
/// A word of few words, which stands in journals, evidence and cards: what is asked for, and of what was reached each thing's name with
/// its version or the first digits of its digest. What is reached by later releases has names of its own, so they are not listed
/// here. It is the silo's own statement; nobody else can look.
///
/// # Privacy
/// It follows from the configuration and the machine as they were when the silo's daemon was started, so it is the same in each of its
/// messages and says nothing of data. No event of a sandbox is ever in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SandboxLevel(String);

/// Why a text is no level of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a sandbox's level is `off`, or `required` or `best_effort` with at most {ITEMS_MAX} words of what was reached behind it"
)]
pub struct SandboxLevelError;

/// Things that were reached.
const ITEMS_MAX: usize = 6;
/// Of a thing's name, and of its version.
const WORD_MAX: usize = 12;

impl SandboxLevel {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Nothing that somebody could smuggle a sentence in by: it is shown to whoever reads a model's card.
fn is_thing(item: &str) -> bool {
    let short = |word: &str| (1..=WORD_MAX).contains(&word.len());
    let (name, version) = item.split_once(' ').map_or((item, None), |(name, version)| (name, Some(version)));
    let is_digit = |letter: char| matches!(letter, '0'..='9' | 'a'..='f');
    short(name)
        && name.chars().all(|letter| letter.is_ascii_lowercase())
        && version.is_none_or(|version| short(version) && version.chars().all(is_digit))
}

impl FromStr for SandboxLevel {
    type Err = SandboxLevelError;

    fn from_str(text: &str) -> Result<Self, SandboxLevelError> {
        let (demand, reached) =
            text.split_once(": ").map_or((text, None), |(demand, all)| (demand, Some(all)));
        let things: Vec<&str> = reached.iter().flat_map(|all| all.split(", ")).collect();
        let sound = match demand {
            "off" => reached.is_none(),
            "required" | "best_effort" => things.len() <= ITEMS_MAX && things.into_iter().all(is_thing),
            _ => false,
        };
        if sound { Ok(Self(text.to_owned())) } else { Err(SandboxLevelError) }
    }
}

impl TryFrom<String> for SandboxLevel {
    type Error = SandboxLevelError;

    fn try_from(text: String) -> Result<Self, SandboxLevelError> {
        text.parse()
    }
}

impl From<SandboxLevel> for String {
    fn from(level: SandboxLevel) -> Self {
        level.0
    }
}

impl fmt::Display for SandboxLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_demand_and_a_few_short_words_and_no_sentence() {
        for level in [
            "off",
            "required: landlock 7, seccomp 3f2a90c1d4e5, namespaces",
            "required: landlock 1, seccomp 3f2a90c1d4e5",
            "best_effort: seccomp 3f2a90c1d4e5",
            "best_effort",
        ] {
            assert_eq!(level.parse::<SandboxLevel>().unwrap().to_string(), level);
        }
        for none in [
            "",
            "on",
            "off: landlock 7",
            "Required: landlock 7",
            "required: ",
            "required:landlock 7",
            "required: landlock seven",
            "required: landlock 7 and more",
            "required: landlock 7,seccomp",
            "required: <b>",
            "required: a\n",
            "required: pneumonoultramicroscopic",
            "required: landlock 0123456789abc",
            "required: a, b, c, d, e, f, g",
        ] {
            assert_eq!(none.parse::<SandboxLevel>(), Err(SandboxLevelError), "{none:?}");
        }
    }
}
