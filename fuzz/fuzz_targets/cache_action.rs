//! Any bytes as an action result, a tree or a directory: no panic, and what they are said to name is in
//! them, digit by digit, within the bound.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb_server_cache::action::{self, Digest};

/// A digest takes 66 bytes at least: the tag and length of its hash, and 64 digits.
fn is_in(bytes: &[u8], digests: &[Digest]) {
    assert!(digests.len() * 66 <= bytes.len());
    for digest in digests {
        let hash: String = digest.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(bytes.windows(64).any(|window| window == hash.as_bytes()));
        assert!(i64::try_from(digest.bytes).is_ok());
    }
}

fuzz_target!(|bytes: &[u8]| {
    for named in [action::action_result(bytes), action::directory(bytes)].into_iter().flatten() {
        is_in(bytes, &[named.blobs, named.trees, named.directories].concat());
    }
    if let Ok(files) = action::tree(bytes) {
        is_in(bytes, &files);
    }
});
