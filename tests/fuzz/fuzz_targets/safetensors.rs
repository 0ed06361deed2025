//! A safetensors file: its header and what is read by it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    svdkit_fuzz::read(&svdkit_fuzz::write("model.safetensors", bytes));
});
