//! The manifest: what an archive is, under a seal.
//!
//! ```text
//! "RHSHIP01"  1: u8  public key: 32 bytes  signature: 64 bytes  body       signed with Ed25519
//! "RHSHIP01"  2: u8  keyed BLAKE3: 32 bytes                     body       under a shared secret
//! ```
//! The body is a [`Root`] in postcard. The seal covers a context, its own kind, and the body. It is
//! checked before a byte of the body is understood.

use serde::{Deserialize, Serialize};

use crate::{
    key::{PublicKey, SecretKey, SharedSecret},
    limits::{MANIFEST_BYTES_MAX, PACK_BYTES_MAX, PACKS_MAX, SEGMENTS_MAX},
    pack::PackId,
    segment::SegmentRef,
};

const MAGIC: &[u8; 8] = b"RHSHIP01";
const CONTEXT: &[u8] = b"rhumb manifest of an archive\0";
const SIGNED: u8 = 1;
const KEYED: u8 = 2;
/// What this program writes, and the only format that it reads.
const FORMAT: u16 = 1;
/// Longest name of an archive, in bytes.
const NAME_BYTES_MAX: usize = 1_024;

/// What the manifest says of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackRef {
    /// Its name.
    pub id: PackId,
    /// Its plain bytes.
    pub bytes: u32,
}

/// An archive. The order of the fields is frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    format: u16,
    /// When it was made, in milliseconds since 1970; of two manifests the newer counts.
    pub created: u64,
    /// What its sender called it; for people.
    pub name: String,
    /// The objects that list its entries, in order.
    pub segments: Vec<SegmentRef>,
    /// The objects of its stream, in order. A pack may stand more than once.
    pub packs: Vec<PackRef>,
}

impl Root {
    /// An archive of these parts.
    #[must_use]
    pub fn new(created: u64, name: &str, segments: Vec<SegmentRef>, packs: Vec<PackRef>) -> Self {
        let name = name.chars().take(NAME_BYTES_MAX / 4).collect();
        Self { format: FORMAT, created, name, segments, packs }
    }

    /// How long its stream is.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.packs.iter().map(|pack| u64::from(pack.bytes)).sum()
    }

    /// How many entries it has.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.segments.iter().map(|segment| u64::from(segment.entries)).sum()
    }

    fn check(&self) -> Result<(), OpenError> {
        let fits = self.segments.len() <= SEGMENTS_MAX
            && self.packs.len() <= PACKS_MAX
            && self.name.len() <= NAME_BYTES_MAX
            && self.packs.iter().all(|pack| (1..=PACK_BYTES_MAX).contains(&(pack.bytes as usize)));
        if fits { Ok(()) } else { Err(OpenError::Bounds) }
    }

    /// The manifest of this archive.
    ///
    /// # Errors
    /// [`OpenError::Bounds`] when the archive has more parts than a manifest may have.
    pub fn seal(&self, sealer: &Sealer) -> Result<Vec<u8>, OpenError> {
        self.check()?;
        let body = postcard::to_allocvec(self).map_err(OpenError::Format)?;
        let seal = match sealer {
            Sealer::Key(key) => {
                let signature = key.sign(&message(SIGNED, &body));
                [&[SIGNED], key.public().0.as_slice(), &signature].concat()
            }
            Sealer::Shared(secret) => {
                [&[KEYED], secret.hash(&message(KEYED, &body)).as_bytes().as_slice()].concat()
            }
        };
        Ok([MAGIC.as_slice(), &seal, &body].concat())
    }

    /// Reads a manifest whose seal is trusted.
    ///
    /// # Errors
    /// When it is none, its seal does not hold or is not trusted, or it breaks a bound.
    pub fn open(bytes: &[u8], trust: &Trust) -> Result<Opened, OpenError> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(OpenError::Bounds);
        }
        let rest = bytes.strip_prefix(MAGIC.as_slice()).ok_or(OpenError::Magic)?;
        let (kind, rest) = rest.split_first().ok_or(OpenError::Magic)?;
        let (seal, body) = match *kind {
            SIGNED => signed(rest, trust)?,
            KEYED => keyed(rest, trust)?,
            _ => return Err(OpenError::Magic),
        };
        let (format, _) = postcard::take_from_bytes::<u16>(body).map_err(OpenError::Format)?;
        if format != FORMAT {
            return Err(OpenError::Version(format));
        }
        let (root, rest) = postcard::take_from_bytes::<Self>(body).map_err(OpenError::Format)?;
        root.check()?;
        if rest.is_empty() { Ok(Opened { root, seal }) } else { Err(OpenError::Bounds) }
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [CONTEXT, &[kind], body].concat()
}

fn signed<'a>(rest: &'a [u8], trust: &Trust) -> Result<(Seal, &'a [u8]), OpenError> {
    let (public, rest) = rest.split_first_chunk::<32>().ok_or(OpenError::Magic)?;
    let (signature, body) = rest.split_first_chunk::<64>().ok_or(OpenError::Magic)?;
    let signer = PublicKey(*public);
    match trust {
        Trust::Shared(_) => return Err(OpenError::NotKeyed),
        Trust::Signers(known) if !known.contains(&signer) => {
            return Err(OpenError::Stranger(signer));
        }
        Trust::Signers(_) | Trust::AnySigner => {}
    }
    let holds = signer.verifies(&message(SIGNED, body), signature);
    if holds { Ok((Seal::Signed(signer), body)) } else { Err(OpenError::Broken) }
}

fn keyed<'a>(rest: &'a [u8], trust: &Trust) -> Result<(Seal, &'a [u8]), OpenError> {
    let (hash, body) = rest.split_first_chunk::<32>().ok_or(OpenError::Magic)?;
    let Trust::Shared(secret) = trust else { return Err(OpenError::NotSigned) };
    // `blake3::Hash` compares in constant time.
    let holds = secret.hash(&message(KEYED, body)) == blake3::Hash::from_bytes(*hash);
    if holds { Ok((Seal::Keyed, body)) } else { Err(OpenError::Broken) }
}

/// What a sender seals with.
#[derive(Debug)]
pub enum Sealer {
    /// A key pair of the sender.
    Key(SecretKey),
    /// What it shares with the receivers.
    Shared(SharedSecret),
}

/// Whose seals a receiver takes.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Signatures of these keys.
    Signers(Vec<PublicKey>),
    /// Any signature that holds: it proves that nothing was damaged, not who sent it.
    AnySigner,
    /// Keyed hashes under this secret.
    Shared(SharedSecret),
}

/// How a manifest was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// By this key.
    Signed(PublicKey),
    /// Under the shared secret.
    Keyed,
}

/// A manifest whose seal held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What it says.
    pub root: Root,
    /// Who says so.
    pub seal: Seal,
}

/// Why a manifest is not taken.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It does not begin as one.
    #[error("this is no manifest")]
    Magic,
    /// Of another release.
    #[error("the manifest has format {0}, and this program reads {FORMAT}; use a newer one")]
    Version(u16),
    /// The seal does not fit the body.
    #[error("the manifest's seal does not hold: it was changed, or sealed with another secret")]
    Broken,
    /// Signed by a key that is not trusted.
    #[error(
        "the manifest is signed by {0}, which is not trusted; name it with `--signer` if it should be"
    )]
    Stranger(PublicKey),
    /// A keyed hash where a signature is wanted.
    #[error("the manifest is sealed under a shared secret; name its file with `--secret`")]
    NotSigned,
    /// A signature where a keyed hash is wanted.
    #[error("the manifest is signed, and not sealed under the shared secret")]
    NotKeyed,
    /// Its body is not understood.
    #[error("the manifest cannot be understood")]
    Format(#[source] postcard::Error),
    /// More than the format allows.
    #[error("the archive is beyond the bounds of its format")]
    Bounds,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ChunkHash;

    fn root() -> Root {
        let segment = SegmentRef { hash: ChunkHash([1; 32]), entries: 3, plain: 500 };
        let pack = |n: u8| PackRef { id: PackId([n; 32]), bytes: 1_000 + u32::from(n) };
        Root::new(1_234, "photos", vec![segment], vec![pack(1), pack(2), pack(1)])
    }

    fn pair() -> (Sealer, Trust) {
        let key = SecretKey::from_seed([9; 32]);
        let trust = Trust::Signers(vec![key.public()]);
        (Sealer::Key(key), trust)
    }

    fn shared(digits: &str) -> SharedSecret {
        SharedSecret::parse(&digits.repeat(32)).unwrap()
    }

    #[test]
    fn a_manifest_comes_back_under_its_seal() {
        let (sealer, trust) = pair();
        let bytes = root().seal(&sealer).unwrap();
        let opened = Root::open(&bytes, &trust).unwrap();
        assert_eq!((opened.root.bytes(), opened.root.entries()), (3_004, 3));
        assert_eq!(opened.root, root());
        assert_eq!(Root::open(&bytes, &Trust::AnySigner).unwrap(), opened);
        let bytes = root().seal(&Sealer::Shared(shared("ab"))).unwrap();
        let opened = Root::open(&bytes, &Trust::Shared(shared("ab"))).unwrap();
        assert_eq!((opened.root, opened.seal), (root(), Seal::Keyed));
    }

    #[test]
    fn a_seal_counts_only_where_it_is_trusted() {
        let (sealer, trust) = pair();
        let signed = root().seal(&sealer).unwrap();
        let stranger = Trust::Signers(vec![SecretKey::from_seed([8; 32]).public()]);
        assert!(matches!(Root::open(&signed, &stranger), Err(OpenError::Stranger(_))));
        assert!(matches!(
            Root::open(&signed, &Trust::Shared(shared("ab"))),
            Err(OpenError::NotKeyed)
        ));
        let keyed = root().seal(&Sealer::Shared(shared("ab"))).unwrap();
        assert!(matches!(Root::open(&keyed, &trust), Err(OpenError::NotSigned)));
        assert!(matches!(Root::open(&keyed, &Trust::AnySigner), Err(OpenError::NotSigned)));
        assert!(matches!(Root::open(&keyed, &Trust::Shared(shared("cd"))), Err(OpenError::Broken)));
    }

    #[test]
    fn a_newer_format_is_said_to_be_one() {
        let (sealer, trust) = pair();
        let newer = Root { format: FORMAT + 1, ..root() }.seal(&sealer).unwrap();
        assert!(matches!(Root::open(&newer, &trust), Err(OpenError::Version(2))));
    }

    #[test]
    fn an_empty_pack_is_refused_by_both_sides() {
        let (sealer, _) = pair();
        let empty = PackRef { id: PackId([1; 32]), bytes: 0 };
        assert!(Root { packs: vec![empty], ..root() }.seal(&sealer).is_err());
    }

    proptest! {
        #[test]
        fn no_flipped_bit_and_no_cut_gets_through(at: prop::sample::Index, bit in 0_u8..8) {
            let (sealer, trust) = pair();
            let bytes = root().seal(&sealer).unwrap();
            let at = at.index(bytes.len());
            prop_assert!(Root::open(&bytes[..at], &trust).is_err());
            let mut flipped = bytes;
            flipped[at] ^= 1 << bit;
            prop_assert!(Root::open(&flipped, &trust).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _refused = Root::open(&[&MAGIC[..], &bytes].concat(), &Trust::AnySigner);
            let _refused = Root::open(&bytes, &Trust::AnySigner);
        }
    }
}
