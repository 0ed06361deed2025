//! Names of the tensors of an adapter, one a line, all of one shape.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut header = serde_json::Map::new();
    for (i, name) in text.lines().take(64).enumerate() {
        let entry = serde_json::json!({"dtype": "F32", "shape": [2, 2], "data_offsets": [16 * i, 16 * i + 16]});
        if header.contains_key(name) {
            return;
        }
        header.insert(name.to_owned(), entry);
    }
    let data = vec![0; 16 * header.len()];
    let header = serde_json::Value::Object(header).to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    svdkit_fuzz::read(&svdkit_fuzz::write("adapter.safetensors", &file));
});
