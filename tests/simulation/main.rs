//! Whole federations in one thread.

mod adversaries;
mod coordinator;
mod participant;
mod rounds;
mod swarm;
