//! A lying coordinator against the daemon over a socket: what it says, what it uploads, and what its journal holds
//! afterwards.

mod crossed;
mod federation;
mod ledger;
mod lies;
#[path = "../mock/mod.rs"]
mod mock;
mod own_log;
mod participation;
mod rounds;
mod step;
mod transport;
mod witnesses;
