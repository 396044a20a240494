//! A sealed process tries to get out, in each profile and in more than fifty ways; each way works in the same executable unsealed,
//! where the machine allows it at all. What it is answered is what the manual says.
//!
//! It is a test without a harness: the executable is also what is sealed, and that has one thread.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[cfg(target_os = "linux")]
mod attempts;
#[cfg(target_os = "linux")]
mod harmless;
#[cfg(target_os = "linux")]
mod inside;
#[cfg(target_os = "linux")]
mod outside;
#[cfg(target_os = "linux")]
mod place;
#[cfg(target_os = "linux")]
mod python;

use std::process::ExitCode;

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    ExitCode::SUCCESS
}

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((role, rest)) if role == "inside" => inside::main(rest),
        _ => outside::main(&arguments),
    }
}
