//! Transport identity: the federation's certificate authority, day-long certificates, and TLS 1.3 on both sides.
//!
//! Owns: certificates, their renewal, the TLS settings of servers and clients, and who a connection's peer is
//! ([`Peer`]). Does not: decide what a peer may do, or vouch for a silo's updates; those are signed under the roster.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod peer;

pub use peer::{Peer, PeerCertificate};
