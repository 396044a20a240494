//! Whole federations in one thread.

mod participant;
mod rounds;
