//! What the protocol promises about privacy, measured. Every test states how often it fails by chance; all seeds are
//! fixed, so none of them ever does.

mod masks;
mod noise;
#[expect(dead_code, reason = "only the masked vectors are of interest here")]
#[path = "../conformance/session.rs"]
mod session;
