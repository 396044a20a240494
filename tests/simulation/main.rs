//! Whole federations in one thread.

mod adversaries;
mod coordinator;
mod operators;
mod participant;
mod rosters;
mod rounds;
mod swarm;
