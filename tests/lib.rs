//! The tests that span crates, one binary per tier.
