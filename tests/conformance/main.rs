//! The libraries against their standards, and this protocol's bytes against what they have been.

mod golden;
mod rfc;
mod session;
