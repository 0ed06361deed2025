//! A saved report, read back.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = svdkit_fuzz::write("report.json", bytes);
    if let Err(error) = svdkit::checkpoint::Saved::open(&path, &svdkit::analysis::columns::of_report) {
        svdkit_fuzz::check(&path, &error.to_string());
    }
});
