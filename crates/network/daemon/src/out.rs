//! What programs print, where nobody may be reading any more.
//!
//! A reader that has seen enough, such as `head`, is no failure: what is still printed goes nowhere, and the program ends
//! with its usual status. The standard library's macros panic there instead; so each program's crate takes these of the
//! same names, before its first module:
//!
//! ```
//! #[macro_use(println)]
//! extern crate daemon;
//!
//! println!("{} rounds", 3);
//! ```

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The standard library's `println!`, for a reader that may be gone.
#[macro_export]
macro_rules! println {
    ($($text:tt)+) => { $crate::out::line(::std::format_args!($($text)+)) };
}

/// The standard library's `print!`, for a reader that may be gone.
#[macro_export]
macro_rules! print {
    ($($text:tt)+) => { $crate::out::print(::std::format_args!($($text)+)) };
}

/// The standard library's `eprintln!`, for a reader that may be gone.
#[macro_export]
macro_rules! eprintln {
    ($($text:tt)+) => { $crate::out::error_line(::std::format_args!($($text)+)) };
}

/// The reader of standard output has gone.
static CLOSED: AtomicBool = AtomicBool::new(false);
/// Why standard output cannot be written for another reason, such as a full disk.
static FAILED: OnceLock<String> = OnceLock::new();

/// Prints a line to standard output.
pub fn line(text: fmt::Arguments<'_>) {
    print(format_args!("{text}\n"));
}

/// Prints to standard output.
pub fn print(text: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    note(&out.write_fmt(text));
}

/// Prints a line to standard error. Where nobody reads that, there is nobody to tell.
pub fn error_line(text: fmt::Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(format_args!("{text}\n"));
}

/// Whether nobody reads standard output any more: who prints without end ends then.
pub fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// The status to end with: this one, unless something was not written that somebody waits for.
pub fn finish(status: ExitCode) -> ExitCode {
    note(&io::stdout().lock().flush());
    match FAILED.get() {
        Some(why) if status == ExitCode::SUCCESS => {
            error_line(format_args!(
                "error: standard output cannot be written: {why}; make room, or print elsewhere"
            ));
            ExitCode::FAILURE
        }
        _ => status,
    }
}

fn note(written: &io::Result<()>) {
    match written {
        Ok(()) => {}
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => CLOSED.store(true, Ordering::Relaxed),
        Err(why) => drop(FAILED.set(why.to_string())),
    }
}
