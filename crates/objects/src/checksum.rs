//! Checksums of objects, in S3's words: base64 of the big-endian bytes; of a checksum of checksums,
//! with `-N` for how many they are of.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use crc_fast::CrcAlgorithm;
use rhumb_types::record::Checksums;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// What a checksum is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// CRC-32 (ISO-HDLC).
    Crc32,
    /// CRC-32C (iSCSI; RFC 3720, section 12.1).
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// What a checksum of an object in parts is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The checksums of its parts.
    Composite,
    /// Its bytes.
    FullObject,
}

/// Why a text is no checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {} checksum is {} bytes in base64", algorithm.name(), algorithm.bytes())]
pub struct ChecksumError {
    /// Of which kind it was to be.
    pub algorithm: Algorithm,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// Its name in S3.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The one with this name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name().eq_ignore_ascii_case(name))
    }

    /// How long a checksum is, in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// What S3 takes the checksum of an object in parts over, if the client does not say.
    #[must_use]
    pub const fn method(self) -> Method {
        match self {
            Self::Crc64Nvme => Method::FullObject,
            _ => Method::Composite,
        }
    }

    /// Whether the checksum of an object in parts can be over this.
    #[must_use]
    pub const fn allows(self, method: Method) -> bool {
        match method {
            Method::Composite => !matches!(self, Self::Crc64Nvme),
            Method::FullObject => self.crc().is_some(),
        }
    }

    /// The checksum of this kind among others.
    #[must_use]
    pub fn of(self, checksums: &Checksums) -> Option<&str> {
        match self {
            Self::Crc32 => checksums.crc32.as_deref(),
            Self::Crc32c => checksums.crc32c.as_deref(),
            Self::Crc64Nvme => checksums.crc64nvme.as_deref(),
            Self::Sha1 => checksums.sha1.as_deref(),
            Self::Sha256 => checksums.sha256.as_deref(),
        }
    }

    /// Puts a checksum of this kind among others.
    pub fn set(self, checksums: &mut Checksums, text: String) {
        let place = match self {
            Self::Crc32 => &mut checksums.crc32,
            Self::Crc32c => &mut checksums.crc32c,
            Self::Crc64Nvme => &mut checksums.crc64nvme,
            Self::Sha1 => &mut checksums.sha1,
            Self::Sha256 => &mut checksums.sha256,
        };
        *place = Some(text);
    }

    /// Reads a checksum; what follows a `-` is left out.
    ///
    /// # Errors
    /// [`ChecksumError`] when it is not base64, or not of the length of its kind.
    pub fn read(self, text: &str) -> Result<Vec<u8>, ChecksumError> {
        let value = text.split_once('-').map_or(text, |(value, _)| value);
        let bytes = STANDARD.decode(value).ok().filter(|bytes| bytes.len() == self.bytes());
        bytes.ok_or(ChecksumError { algorithm: self })
    }

    /// The checksum of some bytes.
    #[must_use]
    pub fn over(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(bytes).to_vec(),
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            _ => self
                .crc()
                .map_or_else(Vec::new, |crc| self.big_endian(crc_fast::checksum(crc, bytes))),
        }
    }

    /// The checksum of an object by those of its parts, one after the other; over its bytes it takes
    /// their lengths. `None` where this kind has no such checksum.
    #[must_use]
    pub fn join(self, method: Method, parts: &[(Vec<u8>, u64)]) -> Option<String> {
        if !self.allows(method) {
            return None;
        }
        if method == Method::Composite {
            let all: Vec<u8> = parts.iter().flat_map(|(checksum, _)| checksum).copied().collect();
            return Some(format!("{}-{}", STANDARD.encode(self.over(&all)), parts.len()));
        }
        let crc = self.crc()?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        let mut parts = parts.iter();
        let first = parts.next().map_or(0, |(checksum, _)| number(checksum));
        let whole = parts.fold(first, |sum, (checksum, bytes)| {
            crc_fast::checksum_combine(crc, sum, number(checksum), *bytes)
        });
        Some(STANDARD.encode(self.big_endian(whole)))
    }

    const fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }

    fn big_endian(self, crc: u64) -> Vec<u8> {
        let bytes = crc.to_be_bytes();
        bytes.into_iter().skip(bytes.len().saturating_sub(self.bytes())).collect()
    }
}

impl Method {
    /// Its name in S3.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Composite => "COMPOSITE",
            Self::FullObject => "FULL_OBJECT",
        }
    }

    /// The one with this name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Composite, Self::FullObject]
            .into_iter()
            .find(|one| one.name().eq_ignore_ascii_case(name))
    }
}

/// A checksum in base64.
#[must_use]
pub fn written(checksum: &[u8]) -> String {
    STANDARD.encode(checksum)
}

/// The first checksum that a client gave and that is another than was found, or was not looked for.
#[must_use]
pub fn mismatch(given: &Checksums, found: &Checksums) -> Option<Algorithm> {
    let differs = |algorithm: &Algorithm| {
        let Some(given) = algorithm.of(given) else { return false };
        let found = algorithm.of(found).and_then(|found| algorithm.read(found).ok());
        found.is_none() || algorithm.read(given).ok() != found
    };
    Algorithm::ALL.into_iter().find(differs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn checksums_of_known_bytes_are_those_of_the_catalogues() {
        let of = |algorithm: Algorithm| crate::etag::hex(&algorithm.over(b"123456789"));
        assert_eq!(of(Algorithm::Crc32), "cbf43926");
        assert_eq!(of(Algorithm::Crc32c), "e3069283");
        assert_eq!(of(Algorithm::Crc64Nvme), "ae8b14860a799888");
        assert_eq!(of(Algorithm::Sha1), "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
        assert_eq!(
            of(Algorithm::Sha256),
            "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"
        );
    }

    #[test]
    fn texts_are_taken_only_in_the_length_of_their_kind() {
        let crc32 = Algorithm::Crc32;
        assert_eq!(crc32.read("y/Q5Jg=="), Ok(vec![0xcb, 0xf4, 0x39, 0x26]));
        assert_eq!(crc32.read("y/Q5Jg==-3"), Ok(vec![0xcb, 0xf4, 0x39, 0x26]));
        for bad in ["", "y/Q5Jg", "y/Q5", "rosUhgp5mIg=", "y_Q5Jg==", "-"] {
            assert!(crc32.read(bad).is_err(), "{bad}");
        }
        assert_eq!(Algorithm::parse("crc64nvme"), Some(Algorithm::Crc64Nvme));
        assert_eq!(Algorithm::parse("MD5"), None);
        assert_eq!(Method::parse("FULL_OBJECT"), Some(Method::FullObject));
    }

    #[test]
    fn a_given_checksum_must_be_found() {
        let mut given = Checksums::default();
        let mut found = Checksums::default();
        assert_eq!(mismatch(&given, &found), None);
        Algorithm::Sha1.set(&mut found, written(&[1; 20]));
        assert_eq!(mismatch(&given, &found), None);
        Algorithm::Crc32.set(&mut given, "y/Q5Jg==".to_owned());
        assert_eq!(mismatch(&given, &found), Some(Algorithm::Crc32));
        Algorithm::Crc32.set(&mut found, "y/Q5Jg==".to_owned());
        assert_eq!(mismatch(&given, &found), None);
        Algorithm::Sha1.set(&mut given, "not one".to_owned());
        assert_eq!(mismatch(&given, &found), Some(Algorithm::Sha1));
    }

    #[test]
    fn a_composite_is_over_the_checksums() {
        let parts = [(vec![1; 20], 5), (vec![2; 20], 6)];
        let both = [[1; 20], [2; 20]].concat();
        let wanted = format!("{}-2", written(&Sha1::digest(both)));
        assert_eq!(Algorithm::Sha1.join(Method::Composite, &parts), Some(wanted));
        assert_eq!(Algorithm::Sha1.join(Method::FullObject, &parts), None);
        assert_eq!(Algorithm::Crc64Nvme.join(Method::Composite, &parts), None);
    }

    proptest! {
        #[test]
        fn parts_join_to_the_checksum_of_the_whole(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6)
        ) {
            let whole = parts.concat();
            for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
                let of = |part: &Vec<u8>| (algorithm.over(part), part.len() as u64);
                let parts: Vec<_> = parts.iter().map(of).collect();
                let joined = algorithm.join(Method::FullObject, &parts);
                prop_assert_eq!(joined, Some(written(&algorithm.over(&whole))));
            }
        }
    }
}
