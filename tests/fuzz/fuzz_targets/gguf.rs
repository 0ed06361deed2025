//! A GGUF file: its header, and blocks that are decoded.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    svdkit_fuzz::read(&svdkit_fuzz::write("model.gguf", bytes));
});
