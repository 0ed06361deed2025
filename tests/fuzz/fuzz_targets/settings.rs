//! A settings file.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = svdkit_fuzz::write("svdkit.toml", bytes);
    if let Err(error) = svdkit::cli::check_settings(&path) {
        svdkit_fuzz::check(&path, &error.to_string());
    }
});
