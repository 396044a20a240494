//! `folkmoot`: every role and every tool in one program.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
