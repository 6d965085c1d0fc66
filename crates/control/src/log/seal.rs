//! Small files that are replaced whole: magic, format, length, checksum, body.

use bytes::{BufMut, Bytes, BytesMut};
use crc_fast::{CrcAlgorithm::Crc32Iscsi, Digest};

/// Magic, format, length, checksum.
const HEADER_BYTES: usize = 4 + 2 + 8 + 4;

/// What is wrong with a file or a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    /// It is not ours, or not whole.
    #[error("{0}")]
    Damaged(String),
    /// A later release wrote it.
    #[error("it has format {found}, and this release reads up to {known}")]
    Newer {
        /// The format of the file.
        found: u16,
        /// The newest format that this release reads.
        known: u16,
    },
}

/// CRC-32C (RFC 3720, appendix B.4) of several parts, as one.
pub(super) fn checksum(parts: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(Crc32Iscsi);
    for part in parts {
        digest.update(part);
    }
    u32::try_from(digest.finalize()).unwrap_or(u32::MAX)
}

/// Wraps a body.
pub(crate) fn seal(magic: [u8; 4], format: u16, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER_BYTES + body.len());
    out.put_slice(&magic);
    out.put_u16_le(format);
    out.put_u64_le(body.len() as u64);
    let crc = checksum(&[&out, body]);
    out.put_u32_le(crc);
    out.put_slice(body);
    out.freeze()
}

/// Unwraps a body and its format.
///
/// # Errors
/// When the file is not what `magic` says, is not whole, or is newer than `known`.
pub(crate) fn unseal(magic: [u8; 4], known: u16, file: &[u8]) -> Result<&[u8], Flaw> {
    let damaged = |what: &str| Flaw::Damaged(what.to_owned());
    let (header, body) =
        file.split_at_checked(HEADER_BYTES).ok_or_else(|| damaged("it is cut off"))?;
    let (fields, crc) = header.split_at(HEADER_BYTES - 4);
    if fields.get(..4) != Some(&magic) {
        return Err(damaged("it does not start with the right letters"));
    }
    if crc != checksum(&[fields, body]).to_le_bytes() {
        return Err(damaged("its checksum is wrong"));
    }
    let found = fields.get(4..6).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes);
    if found > known {
        return Err(Flaw::Newer { found, known });
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_flipped_bit() {
        let sealed = seal(*b"TEST", 1, b"body");
        assert_eq!(unseal(*b"TEST", 1, &sealed), Ok(&b"body"[..]));
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(*b"TEST", 1, &flipped).is_err(), "bit {bit}");
        }
        for cut in 0..sealed.len() {
            assert!(unseal(*b"TEST", 1, &sealed[..cut]).is_err(), "cut {cut}");
        }
    }

    #[test]
    fn says_when_a_file_is_newer() {
        let sealed = seal(*b"TEST", 2, b"body");
        assert_eq!(unseal(*b"TEST", 1, &sealed), Err(Flaw::Newer { found: 2, known: 1 }));
    }
}
