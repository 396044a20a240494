//! The guard and the desk in front of a real server, over loopback.

mod administration;
mod bars;
mod enrolment;
mod gate;
mod harness;
mod live;
mod runs;
