//! What stands in rows that this crate encodes itself: log rows, extents, the newest commit.

use bytes::{Bytes, BytesMut};
use rhumb_ports::store::{LogExtent, StoreError};
use rhumb_types::{
    OriginId,
    record::{CodecError, Record},
};

use crate::{
    keys,
    tables::{TABLES, Table},
};

/// Bytes of the checksum before a transaction.
const CHECKSUM_BYTES: usize = 4;

/// A log row: CRC-32C of its key and of the transaction, then the transaction.
///
/// fjall checks its blocks and batches; this one is carried from the commit to the reader, so that
/// a transaction that was damaged in memory or put in the wrong place is never served.
pub(crate) fn encode_log(origin: OriginId, version: u64, transaction: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(CHECKSUM_BYTES + transaction.len());
    row.extend_from_slice(&log_checksum(origin, version, transaction).to_le_bytes());
    row.extend_from_slice(transaction);
    row
}

/// The transaction of a log row.
pub(crate) fn decode_log(origin: OriginId, version: u64, row: &Bytes) -> Result<Bytes, StoreError> {
    let damaged = |what: &str| StoreError::Record {
        table: Table::Log.name(),
        reason: format!("version {version} of {origin} {what}"),
    };
    let (checksum, transaction) =
        row.split_first_chunk::<CHECKSUM_BYTES>().ok_or_else(|| damaged("is too short"))?;
    if log_checksum(origin, version, transaction) != u32::from_le_bytes(*checksum) {
        return Err(damaged("has a wrong checksum"));
    }
    Ok(row.slice(CHECKSUM_BYTES..))
}

fn log_checksum(origin: OriginId, version: u64, transaction: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&keys::log(origin, version));
    digest.update(transaction);
    let sum = digest.finalize();
    u32::try_from(sum).unwrap_or_else(|_| unreachable!("a checksum of 32 bits: {sum:#x}"))
}

/// Decodes a record of a table.
pub(crate) fn decode<R: Record>(table: Table, bytes: &[u8]) -> Result<R, StoreError> {
    R::decode(bytes).map_err(|error: CodecError| StoreError::Record {
        table: table.name(),
        reason: error.to_string(),
    })
}

fn numbers(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    numbers.into_iter().flat_map(u64::to_be_bytes).collect()
}

/// A log's extent, with the rows below it that are trimmed and still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) log: LogExtent,
    /// The lowest version whose row may still be there.
    pub(crate) sweep_from: u64,
    /// The sweep ends before this version.
    pub(crate) sweep_to: u64,
}

impl Extent {
    pub(crate) const fn starting(origin: OriginId, version: u64) -> Self {
        let log = LogExtent::starting(origin, version);
        Self { log, sweep_from: version, sweep_to: version }
    }

    pub(crate) fn append(&mut self, version: u64) -> Result<(), StoreError> {
        self.log.append(version)?;
        if self.sweep_from >= self.sweep_to && self.log.first == version {
            (self.sweep_from, self.sweep_to) = (version, version);
        }
        Ok(())
    }

    /// Forgets up to a version; the rows go in later sweeps.
    pub(crate) fn trim(&mut self, through: u64) {
        let written_end = self.log.last.saturating_add(1);
        self.log.trim(through);
        self.sweep_to = self.sweep_to.max(self.log.first.min(written_end));
    }

    /// Takes up to `limit` versions whose rows can be removed.
    pub(crate) fn sweep(&mut self, limit: u64) -> std::ops::Range<u64> {
        let end = self.sweep_to.min(self.sweep_from.saturating_add(limit)).max(self.sweep_from);
        let swept = self.sweep_from..end;
        self.sweep_from = end;
        swept
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        numbers([self.log.first, self.log.last, self.sweep_from, self.sweep_to])
    }

    pub(crate) fn decode(origin: OriginId, row: &[u8]) -> Option<Self> {
        let number = |at: usize| keys::number(row, at * size_of::<u64>());
        let log = LogExtent { origin, first: number(0)?, last: number(1)? };
        Some(Self { log, sweep_from: number(2)?, sweep_to: number(3)? })
    }
}

/// The newest commit, and the newest commit that touched each table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Newest {
    pub(crate) number: u64,
    pub(crate) touched: [u64; TABLES],
}

impl Newest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        numbers(std::iter::once(self.number).chain(self.touched))
    }

    pub(crate) fn decode(row: &[u8]) -> Option<Self> {
        let mut newest = Self { number: keys::number(row, 0)?, ..Self::default() };
        for (at, touched) in newest.touched.iter_mut().enumerate() {
            *touched = keys::number(row, (at + 1) * size_of::<u64>())?;
        }
        Some(newest)
    }
}

/// A table's mark: the newest commit that touched it.
pub(crate) fn encode_mark(number: u64) -> Bytes {
    let mut mark = BytesMut::with_capacity(size_of::<u64>());
    mark.extend_from_slice(&number.to_be_bytes());
    mark.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: OriginId = OriginId(0x30000);

    #[test]
    fn a_log_row_in_the_wrong_place_or_with_a_flipped_bit_is_refused() {
        let row = encode_log(ORIGIN, 7, b"transaction");
        let good = Bytes::from(row.clone());
        assert_eq!(decode_log(ORIGIN, 7, &good).unwrap(), Bytes::from_static(b"transaction"));
        assert!(decode_log(ORIGIN, 8, &good).is_err());
        assert!(decode_log(OriginId(0x40000), 7, &good).is_err());
        for bit in 0..row.len() * 8 {
            let mut flipped = row.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_log(ORIGIN, 7, &Bytes::from(flipped)).is_err(), "bit {bit}");
        }
        assert!(decode_log(ORIGIN, 7, &Bytes::from_static(b"abc")).is_err());
    }

    #[test]
    fn a_sweep_takes_what_was_trimmed_in_parts_and_no_more() {
        let mut extent = Extent::starting(ORIGIN, 1);
        for version in 1..=10 {
            extent.append(version).unwrap();
        }
        extent.trim(6);
        assert_eq!(extent.sweep(4), 1..5);
        assert_eq!(extent.sweep(4), 5..7);
        assert_eq!(extent.sweep(4), 7..7);
        extent.trim(50);
        assert_eq!(extent.sweep(100), 7..11, "there never were rows 11 to 50");
        extent.append(51).unwrap();
        extent.append(52).unwrap();
        extent.trim(51);
        assert_eq!(extent.sweep(100), 51..52);
        assert_eq!(Extent::decode(ORIGIN, &extent.encode()), Some(extent));
    }

    #[test]
    fn the_newest_commit_reads_back() {
        let newest = Newest { number: 9, touched: [1, 2, 3, 4, 5, 6, 7, 9] };
        assert_eq!(Newest::decode(&newest.encode()), Some(newest));
        assert_eq!(Newest::decode(b"short"), None);
    }
}
