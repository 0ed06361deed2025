//! A PyTorch file: its zip directory, its pickle and its storages.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    svdkit_fuzz::read(&svdkit_fuzz::write("model.pt", bytes));
});
