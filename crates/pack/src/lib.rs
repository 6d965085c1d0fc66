//! The format of what `rhumb ship` sends.
//!
//! An archive is one *stream* of plain bytes, the data of its files one after the other, and a list of
//! *entries* that say which range of it is which file.
//!
//! ```text
//! files    [a....][b][c..........................][d.]
//! stream   |----------------------------------------|
//! chunks   |------|---------|-----|--------|--------|    cut by content, each under its BLAKE3
//! packs    |----------------|-----------------------|    cut by content, too; one object each
//! ```
//!
//! - [`Cutter`] cuts the stream. Where chunks and packs end depends on what stands there, not on
//!   what stood before, so that an archive that is sent again after a change shares all packs but a few
//!   with the first, and nobody has to remember what was sent: a pack's name ([`PackId`]) is the hash
//!   of its chunks' hashes. It does not depend on how they were compressed.
//! - [`Sealed`] is a chunk on its way, and [`Pack`] what a receiver reads; every chunk is compared with
//!   its hash before it is given out.
//! - [`Entry`] is a file, directory or link. Entries are written to segments in the order of a walk
//!   ([`Order`]), so that a receiver can check with bounded memory that no path leaves its target or
//!   goes through a link.
//! - [`Root`] lists segments and packs, under a signature or a keyed hash ([`Seal`]). So everything
//!   hangs from the one object that is written last.
//!
//! Deliberately absent: IO, encryption, extended attributes, devices and sockets.

mod cut;
mod entry;
mod key;
pub mod limits;
mod order;
mod pack;
mod path;
mod root;
mod segment;

pub use cut::{Cutter, PlainChunk, PlainPack};
pub use entry::{Content, Entry, EntryError, Hole, Kind, Mtime, Owner};
pub use key::{KeyError, PublicKey, SecretKey, SharedSecret};
pub use order::{Order, OrderError};
pub use pack::{ChunkHash, Pack, PackError, PackId, Sealed, assemble};
pub use path::{ArchivePath, PathError};
pub use root::{OpenError, Opened, PackRef, Root, Seal, Sealer, Trust};
pub use segment::{Segment, SegmentError, SegmentRef, SegmentWriter, read_segment};

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8], f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// The 32 bytes that 64 hexadecimal digits stand for.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|[high, low]| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()
        })
        .collect();
    bytes.filter(|_| rest.is_empty())?.try_into().ok()
}
