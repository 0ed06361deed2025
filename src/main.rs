//! Parses the command line, runs it, exits.

use std::process::ExitCode;

fn main() -> ExitCode {
    svdkit::cli::main()
}
