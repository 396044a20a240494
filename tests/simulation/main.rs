//! Whole federations in one thread.

mod adversaries;
mod complaints;
mod coordinator;
mod operators;
mod participant;
mod rosters;
mod rounds;
mod swarm;
