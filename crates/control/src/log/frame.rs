//! Frames: what one append or truncation writes to a segment.
//!
//! ```text
//! magic 4 | body length 4 | sequence 8 | body crc32c 4 | header crc32c 4 | body
//! ```
//!
//! Both checksums start from the log's salt, so that bytes of another log, or bytes that a client
//! chose, never pass for a frame.

use bytes::{BufMut, Bytes, BytesMut};
use rhumb_types::NodeId;
use serde::{Deserialize, Serialize};

use super::seal::checksum;
use crate::raft::Entry;

/// Bytes of a frame before its body.
pub(super) const HEADER_BYTES: usize = 24;
const MAGIC: [u8; 4] = *b"RLF1";
/// The unit in which disks write.
const SECTOR_BYTES: usize = 512;

/// What a frame says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Record {
    /// The first frame of a segment.
    Start {
        /// Whose log.
        node: NodeId,
        /// The segment's number.
        segment: u64,
    },
    /// Entries follow the ones before.
    Entries(Vec<Entry>),
    /// Entries from this index on were cut off.
    Truncate {
        /// The lowest index that is gone.
        since: u64,
    },
}

/// A frame found in a segment.
pub(super) struct Found<'a> {
    /// Its place among the frames of the log.
    pub(super) sequence: u64,
    /// What it holds.
    pub(super) body: &'a [u8],
    /// Bytes from its start to its end.
    pub(super) length: usize,
}

/// Why there is no frame where one should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// The file ends here.
    End,
    /// A write that never finished: bytes are missing, or whole sectors of it are still zero.
    Unfinished,
    /// All bytes are there, and they are wrong.
    Wrong,
}

/// Encodes a record.
///
/// # Errors
/// When the record cannot be encoded or is too large for a frame.
pub(super) fn encode(salt: u64, sequence: u64, record: &Record) -> Result<Bytes, String> {
    let body = postcard::to_stdvec(record).map_err(|fault| fault.to_string())?;
    let length = u32::try_from(body.len()).map_err(|_| "the record is too large".to_owned())?;
    let salt = salt.to_le_bytes();
    let mut out = BytesMut::with_capacity(HEADER_BYTES + body.len());
    out.put_slice(&MAGIC);
    out.put_u32_le(length);
    out.put_u64_le(sequence);
    out.put_u32_le(checksum(&[&salt, &body]));
    let crc = checksum(&[&salt, &out]);
    out.put_u32_le(crc);
    out.put_slice(&body);
    Ok(out.freeze())
}

/// Finds the frame that starts at an offset of a segment.
pub(super) fn decode(salt: u64, segment: &[u8], offset: usize) -> Result<Found<'_>, Missing> {
    let rest = segment.get(offset..).unwrap_or_default();
    if rest.is_empty() {
        return Err(Missing::End);
    }
    let Some(header) = Header::parse(salt, rest) else {
        return Err(judge(segment, offset, HEADER_BYTES));
    };
    let length = HEADER_BYTES + header.length;
    match rest.get(HEADER_BYTES..length) {
        Some(body) if checksum(&[&salt.to_le_bytes(), body]) == header.body_crc => {
            Ok(Found { sequence: header.sequence, body, length })
        }
        _ => Err(judge(segment, offset, length)),
    }
}

/// Whether a whole frame with at least this sequence starts anywhere after an offset.
pub(super) fn any_after(salt: u64, segment: &[u8], offset: usize, sequence: u64) -> bool {
    let rest = segment.get(offset..).unwrap_or_default();
    rest.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC).any(|(at, _)| {
        decode(salt, segment, offset + at).is_ok_and(|found| found.sequence >= sequence)
    })
}

struct Header {
    length: usize,
    sequence: u64,
    body_crc: u32,
}

impl Header {
    fn parse(salt: u64, bytes: &[u8]) -> Option<Self> {
        let (magic, bytes_after) = bytes.split_first_chunk::<4>()?;
        let (length, rest) = bytes_after.split_first_chunk::<4>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let (body_crc, rest) = rest.split_first_chunk::<4>()?;
        let (crc, _) = rest.split_first_chunk::<4>()?;
        let signed = bytes.get(..HEADER_BYTES - 4)?;
        let whole =
            *magic == MAGIC && checksum(&[&salt.to_le_bytes(), signed]) == u32::from_le_bytes(*crc);
        whole.then_some(Self {
            length: usize::try_from(u32::from_le_bytes(*length)).ok()?,
            sequence: u64::from_le_bytes(*sequence),
            body_crc: u32::from_le_bytes(*body_crc),
        })
    }
}

/// Tells an unfinished write from damage: a disk writes whole sectors, and a sector of an append
/// that was never written is past the end of the file or reads as zeros.
fn judge(segment: &[u8], offset: usize, length: usize) -> Missing {
    let end = offset + length;
    let Some(extent) = segment.get(offset..end) else {
        return Missing::Unfinished;
    };
    let to_boundary = (SECTOR_BYTES - offset % SECTOR_BYTES).min(extent.len());
    let (first, rest) = extent.split_at(to_boundary);
    let zero = |piece: &[u8]| piece.iter().all(|byte| *byte == 0);
    if zero(first) || rest.chunks(SECTOR_BYTES).any(zero) {
        Missing::Unfinished
    } else {
        Missing::Wrong
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SALT: u64 = 0x5a17;

    fn truncation(sequence: u64) -> Bytes {
        encode(SALT, sequence, &Record::Truncate { since: 7 }).unwrap()
    }

    #[test]
    fn reads_back_what_was_written() {
        let frame = truncation(3);
        let found = decode(SALT, &frame, 0).ok().unwrap();
        assert_eq!((found.sequence, found.length), (3, frame.len()));
        assert_eq!(decode(SALT, &frame, frame.len()).err(), Some(Missing::End));
    }

    #[test]
    fn another_logs_frame_is_no_frame() {
        assert_eq!(decode(SALT + 1, &truncation(3), 0).err(), Some(Missing::Wrong));
    }

    #[test]
    fn zeros_and_cuts_are_unfinished_and_flips_are_wrong() {
        let frame = truncation(3);
        for cut in 1..frame.len() {
            assert_eq!(decode(SALT, &frame[..cut], 0).err(), Some(Missing::Unfinished), "{cut}");
        }
        assert_eq!(decode(SALT, &vec![0; 4096], 0).err(), Some(Missing::Unfinished));
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(SALT, &flipped, 0).err(), Some(Missing::Wrong), "bit {bit}");
        }
    }

    #[test]
    fn finds_a_whole_frame_behind_a_flawed_one() {
        let mut segment = truncation(3).to_vec();
        let first = segment.len();
        segment[first - 1] ^= 1;
        assert!(!any_after(SALT, &segment, 0, 3));
        segment.extend_from_slice(&truncation(4));
        assert!(any_after(SALT, &segment, 0, 3));
        assert!(!any_after(SALT, &segment, 0, 5), "an older frame is not a later one");
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..2_000), at in 0_usize..2_000) {
            let _ = decode(SALT, &bytes, at);
            let _ = any_after(SALT, &bytes, at, 0);
        }
    }
}
