//! The checksums that S3's clients send along and ask for.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use crc_fast::{CrcAlgorithm, Digest as Crc};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// Which checksum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 5] =
        [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// As S3 names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The header, and the trailer, that carries it.
    pub(crate) const fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The one of a header.
    pub(crate) fn of_header(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.header().eq_ignore_ascii_case(name))
    }

    /// The one of a name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name().eq_ignore_ascii_case(name))
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// The bytes of a checksum as it is written, if it is one of this kind.
    pub(crate) fn read(self, text: &str) -> Option<Vec<u8>> {
        STANDARD.decode(text.trim()).ok().filter(|bytes| bytes.len() == self.bytes())
    }
}

/// A checksum of what has come so far.
pub(crate) enum Running {
    Crc(Crc, usize),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Running {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let crc = |which| Self::Crc(Crc::new(which), algorithm.bytes());
        match algorithm {
            Algorithm::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc),
            Algorithm::Crc32c => crc(CrcAlgorithm::Crc32Iscsi),
            Algorithm::Crc64Nvme => crc(CrcAlgorithm::Crc64Nvme),
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(crc, _) => crc.update(bytes),
            Self::Sha1(sha) => sha.update(bytes),
            Self::Sha256(sha) => sha.update(bytes),
        }
    }

    /// The checksum, as many bytes as it has, the most significant first.
    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Self::Crc(crc, bytes) => {
                crc.finalize().to_be_bytes().into_iter().skip(8 - bytes).collect()
            }
            Self::Sha1(sha) => sha.finalize().to_vec(),
            Self::Sha256(sha) => sha.finalize().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of the catalogue of CRCs (reveng), and of RFC 3174 and FIPS 180.
    #[test]
    fn checksums_are_the_known_ones() {
        let of = |algorithm, text: &[u8]| {
            let mut running = Running::new(algorithm);
            text.chunks(2).for_each(|part| running.update(part));
            running.finish()
        };
        let nine = b"123456789";
        assert_eq!(of(Algorithm::Crc32, nine), 0xcbf4_3926_u32.to_be_bytes());
        assert_eq!(of(Algorithm::Crc32c, nine), 0xe306_9283_u32.to_be_bytes());
        assert_eq!(of(Algorithm::Crc64Nvme, nine), 0xae8b_1486_0a79_9888_u64.to_be_bytes());
        let sha1 = STANDARD.encode(of(Algorithm::Sha1, b"abc"));
        assert_eq!(sha1, "qZk+NkcGgWq6PiVxeFDCbJzQ2J0=");
        let sha256 = STANDARD.encode(of(Algorithm::Sha256, b"abc"));
        assert_eq!(sha256, "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }

    #[test]
    fn what_is_written_is_read_only_as_what_it_is() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::of_name(algorithm.name()), Some(algorithm));
            assert_eq!(Algorithm::of_header(algorithm.header()), Some(algorithm));
            let text = STANDARD.encode(Running::new(algorithm).finish());
            assert!(algorithm.read(&text).is_some(), "{algorithm:?}");
            assert_eq!(algorithm.read("AAA="), None, "too short");
            assert_eq!(algorithm.read("?"), None);
        }
    }
}
