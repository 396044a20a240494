//! Whole federations in one thread.

mod coordinator;
mod participant;
mod rounds;
