//! A silo's policy, in its configuration or by itself.

use plan::{Policy, PolicyError, Problems};
use serde::Deserialize;

use crate::misplaced_word;

/// The table `[policy]` of a silo's configuration, or the whole text where there is none.
///
/// # Errors
/// [`PolicyError`], faults by their lines in the text.
pub fn policy_in(text: &str) -> Result<Policy, PolicyError> {
    #[derive(Deserialize)]
    struct Configuration {
        policy: Policy,
    }
    let parsed = text.parse::<toml::Table>();
    if let Err(why) = &parsed {
        let word = match text.contains("[policy]") {
            true => misplaced_word::<Configuration>(text, why),
            false => misplaced_word::<Policy>(text, why),
        };
        return Err(PolicyError::Syntax(word.unwrap_or_else(|| why.to_string())));
    }
    if !parsed.is_ok_and(|table| table.contains_key("policy")) {
        return Policy::from_toml(text);
    }
    let Configuration { policy } =
        toml::from_str(text).map_err(|why| PolicyError::Syntax(why.to_string()))?;
    let Err(problems) = policy.validate() else { return Ok(policy) };
    let mut placed = Problems::default();
    for problem in problems.0 {
        placed.add(&format!("policy.{}", problem.field), problem.text);
    }
    Err(PolicyError::Meaning(placed.with_lines_of(text)))
}

/// Whether this text is a policy by itself, or under its table's head alone, and no whole configuration.
pub fn is_policy_alone(text: &str) -> bool {
    let parsed = text.parse::<toml::Table>();
    parsed.is_ok_and(|table| !table.contains_key("policy") || table.len() == 1)
}
