//! What cannot be, and is checked all the same.

/// Ends the process with the id of an invariant that does not hold, a row of ARCHITECTURE.md's table: a bug, or a journal that
/// nobody of this release wrote. Whoever runs the process starts it again, from its journal.
///
/// For what cannot be, and there alone, in place of a default that hides it: the message says why it cannot be. What a peer sent is
/// refused with an error before it comes this far, so that no peer's input alone ends a process.
///
/// ```text
/// invariant!("C2", "adverts that were admitted one by one make no cohort: {why}");
/// ```
macro_rules! invariant {
    ($id:literal, $($why:tt)*) => {
        panic!(concat!("invariant ", $id, " broken: {}"), format_args!($($why)*))
    };
}
pub(crate) use invariant;
