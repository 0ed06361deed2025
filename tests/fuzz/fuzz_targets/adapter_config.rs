//! The configuration of an adapter, beside sound factors.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let factors = include_bytes!("../../../fixtures/charlm/lora-r1/adapter_model.safetensors");
    svdkit_fuzz::write("adapter_model.safetensors", factors);
    svdkit_fuzz::write("adapter_config.json", bytes);
    if let Err(error) = svdkit::checkpoint::open(svdkit_fuzz::folder()) {
        svdkit_fuzz::check(svdkit_fuzz::folder(), &error.to_string());
    }
});
