//! The library as a program that links it meets it: numbers against laws and peers, files sound and damaged.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod accuracy;
mod adapters;
mod checkpoints;
mod conformance;
mod dense;
mod dialects;
mod drift;
mod experts;
mod factored;
mod farms;
mod findings;
mod glossary;
mod intruders;
mod known;
mod laws;
mod malformed;
mod malformed_adapters;
mod malformed_containers;
mod oracle;
mod partitions;
mod quantized;
mod ranges;
mod rare_adapters;
mod reports;
mod series;
mod stores;
mod studies;
mod weighted;
