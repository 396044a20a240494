//! Whole federations in one thread.

mod rounds;
