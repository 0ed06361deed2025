//! A pickle inside a sound PyTorch archive.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    svdkit_fuzz::read(&svdkit_fuzz::write("model.pt", &svdkit_fuzz::archive(bytes)));
});
