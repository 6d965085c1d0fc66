//! AWS Signature Version 4: what a signed request says, and whether it is true.
//!
//! A server takes four steps, and reads its own clock for them:
//! 1. [`Authorization::of`] reads who signed what, from the header or from the query of a presigned
//!    address;
//! 2. the server looks the access key up, and takes the [`SigningKey`] of the scope, new or from its
//!    [`DerivedKeys`];
//! 3. the [`Content`] is the hash of the body that came, or, where the service allows that, what the
//!    client declared of a body that is still to come;
//! 4. [`verify`] holds all of it together, and gives the [`Seed`];
//! 5. a body that comes in chunks is held against its [`Chain`], which begins with that seed.
//!
//! Every comparison with something secret takes the same time wherever the two differ.
//!
//! The algorithm is AWS's "Create a signed AWS API request"; the tests run AWS's own vectors.
//!
//! Deliberately absent: the framing of chunks, SigV4A, session tokens (a caller can see that one
//! was sent), and the plain `Date` header in place of `X-Amz-Date`.

mod authorization;
mod canonical;
mod chain;
mod content;
mod key;
mod stamp;
mod verify;

pub use authorization::{Authorization, Form, Scope};
pub use canonical::{PathStyle, Request};
pub use chain::Chain;
pub use content::Content;
pub use key::{DerivedKeys, Secret, SigningKey};
pub use stamp::Stamp;
pub use verify::{Refusal, Rules, Seed, sign, verify};

/// The name of the algorithm, as requests carry it.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Longest authorization header that is read, in bytes.
pub const HEADER_BYTES_MAX: usize = 8 << 10;
/// Most headers that a signature may cover.
pub const SIGNED_HEADERS_MAX: usize = 64;
/// How far a client's clock may be off.
pub const SKEW_MAX: std::time::Duration = std::time::Duration::from_secs(15 * 60);
/// Longest life of a presigned address.
pub const PRESIGNED_MAX: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3_600);

/// Bytes of a SHA-256, and so of a signature.
const HASH_BYTES: usize = 32;

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// The 32 bytes of a hash or signature that 64 lower-case digits stand for.
#[must_use]
pub fn unhex(text: &str) -> Option<[u8; HASH_BYTES]> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != HASH_BYTES * 2 || !text.bytes().all(lower) {
        return None;
    }
    let mut bytes = [0; HASH_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
