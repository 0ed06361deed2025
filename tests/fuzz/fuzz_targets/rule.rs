//! A rule of `--fail-if`.

#![no_main]

use svdkit::gate::Rule;
use svdkit::metric::METRICS;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let columns: Vec<_> = METRICS.iter().map(|metric| &metric.column).collect();
        let _ = Rule::parse(text, &columns, &["random-like"]).map_err(|error| error.to_string());
    }
});
