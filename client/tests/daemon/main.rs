//! The daemon against a coordinator that is a script.
#![allow(missing_docs)]

mod hostile;
mod mock;
mod peers;
mod session;
