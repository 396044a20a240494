//! Whole federations in one thread.

mod adversaries;
mod complaints;
mod coordinator;
mod framing;
mod hopeless;
mod operators;
mod participant;
mod rosters;
mod rounds;
mod runs;
mod sessions;
mod shares;
mod swarm;
mod turns;
mod waiting;
