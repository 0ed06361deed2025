//! A NumPy array, or an archive of them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    svdkit_fuzz::read(&svdkit_fuzz::write("arrays.npz", bytes));
});
