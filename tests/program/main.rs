//! The program as its users meet it: what it prints, what it writes, how it ends.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod adapter;
mod adapter_carried;
mod adapter_clash;
mod adapter_merge;
mod adapter_written;
mod addresses;
mod baselines;
mod blind;
mod cache;
mod command;
mod compare;
mod content;
mod converted;
mod dialects;
mod escapes;
mod factored;
mod findings;
mod gate;
mod harness;
mod hub;
mod inspect;
mod links;
mod memory;
mod mitigated;
mod mitigated_adapters;
mod mutated_texts;
mod names;
mod outputs;
mod overflow;
mod page;
mod parquet;
mod pipes;
mod rank;
mod recipes;
mod settings;
mod signals;
mod slips;
mod structured;
mod tables;
mod transcripts;
mod updates;
mod weightwatcher;
