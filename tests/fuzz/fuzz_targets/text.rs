//! A text that a stranger chose, made printable.

#![no_main]

use svdkit::error::{brief, is_hidden, printable};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let shown = printable(text);
    assert!(!shown.contains(is_hidden), "{shown:?}");
    assert_eq!(printable(&shown), shown, "is printable already");
    assert!(!shown.starts_with("::") && !shown.contains("##[") && !shown.contains("##vso["), "{shown:?}");
    assert!(brief(text).chars().count() <= 200 * "\\u{10ffff}".len() + 1);
});
