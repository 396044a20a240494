//! The rules that no compiler checks: who may depend on whom, what pure crates may reach, what source may not say.

mod counts;
mod docs;
mod edges;
mod exactness;
mod faults;
mod locked;
mod mutations;
mod names;
mod purity;
mod ratchets;
mod rooms;
mod rust;
mod samples;
mod sources;
mod tree;
