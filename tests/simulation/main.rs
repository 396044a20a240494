//! Whole federations in one thread.

mod adversaries;
mod coordinator;
mod participant;
mod rosters;
mod rounds;
mod swarm;
