//! The index of a sharded checkpoint, beside one sound shard.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let shard = include_bytes!("../../../fixtures/formats/sharded/model-00001-of-00003.safetensors");
    svdkit_fuzz::write("model-00001-of-00003.safetensors", shard);
    svdkit_fuzz::write("model.safetensors.index.json", bytes);
    match svdkit::checkpoint::open(svdkit_fuzz::folder()) {
        Ok(_) => {}
        Err(error) => svdkit_fuzz::check(svdkit_fuzz::folder(), &error.to_string()),
    }
});
