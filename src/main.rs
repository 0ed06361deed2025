//! Parses the command line, runs it, exits.
fn main() {}
