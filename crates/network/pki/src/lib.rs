//! Transport identity: the federation's certificate authority, day-long certificates, and TLS 1.3 on both sides.
//!
//! Owns: certificates, their renewal, the TLS settings of servers and clients, and who a connection's peer is
//! ([`Peer`]). Does not: decide what a peer may do, or vouch for a silo's updates; those are signed under the roster.
//!
//! ```text
//! TransportKey --request_der--> CertificateAuthority::issue --chain_pem--> ServerTls, ClientTls (both replaceable)
//! ServerTls -> Incoming -> tonic: every request carries its Peer
//! ClientTls, Outgoing -> Connector -> tonic      UnpinnedConnection --pin--> ClientTls: a silo's first contact
//! ```
//!
//! Sessions are never resumed and data is never sent early: every connection shows its certificate anew, so that an
//! expired or revoked one cannot come back by a ticket.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod authority;
mod client;
mod contact;
mod doctor;
mod explain;
mod incoming;
mod key;
mod leaf;
mod loopback;
mod outgoing;
mod peer;
mod proxy;
mod server;
mod verify;

pub use authority::{CertificateAuthority, IssueError, Issued};
pub use client::{ClientTls, Connector, PlainConnector, TlsIo};
pub use contact::{ContactError, UnpinnedConnection};
pub use doctor::{Finding, doctor};
pub use explain::{explain, explain_call, is_barred, refuses_certificate};
pub use incoming::{Connection, ConnectionBudget, Incoming, Turned, Watcher, networks};
pub use key::{TransportKey, TransportKeyError};
pub use leaf::{Leaf, LeafError, inspect, now_s, renew_at};
pub use loopback::is_loopback;
pub use outgoing::{Outgoing, Resolver, Resolving};
pub use peer::{HangUp, Peer, PeerCertificate};
pub use proxy::{Proxy, ProxyError};
pub use server::{DenialCheck, ServerTls, TlsError};
