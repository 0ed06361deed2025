//! The program as its users meet it: what it prints, what it writes, how it ends.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod addresses;
mod command;
mod compare;
mod dialects;
mod gate;
mod hub;
mod inspect;
mod mitigated;
mod page;
mod parquet;
mod rank;
mod recipes;
mod settings;
mod transcripts;
