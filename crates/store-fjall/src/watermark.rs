//! The number of the newest synced commit, kept outside fjall.
//!
//! fjall drops everything after the first unreadable batch of its journal, as after a torn write,
//! and cannot tell damage in the middle from a torn tail (fjall issue 311). So the store keeps a
//! witness: after each synced commit it overwrites sixteen bytes of a file of its own. The write
//! is not synced, so it costs about a microsecond; it outlives the process at once and the machine
//! once the system has written it back. It can be behind the truth and never ahead of it, so a
//! store that opens below it has lost commits, and none is accused falsely.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

/// The file's name.
const NAME: &str = "watermark";
/// A number and its checksum.
const BYTES: usize = 16;

#[derive(Debug)]
pub(crate) struct Watermark {
    file: File,
    number: u64,
}

impl Watermark {
    /// Opens the file of a directory, or makes it with the number 0.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(NAME);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = [0; BYTES];
        if file.metadata()?.len() == 0 {
            file.write_all_at(&encode(0), 0)?;
            // The blocks are there from now on: a later overwrite of them cannot be torn.
            file.sync_all()?;
        }
        file.read_exact_at(&mut bytes, 0)?;
        let number = decode(bytes).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the watermark has a wrong checksum")
        })?;
        Ok(Self { file, number })
    }

    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// Sets the number, also to a lower one.
    pub(crate) fn set(&mut self, number: u64) -> io::Result<()> {
        self.file.write_all_at(&encode(number), 0)?;
        self.number = number;
        Ok(())
    }
}

fn encode(number: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    let (value, sum) = bytes.split_at_mut(BYTES / 2);
    value.copy_from_slice(&number.to_be_bytes());
    sum.copy_from_slice(&checksum(&number.to_be_bytes()).to_be_bytes());
    bytes
}

fn decode(bytes: [u8; BYTES]) -> Option<u64> {
    let (value, sum) = bytes.split_first_chunk::<{ BYTES / 2 }>()?;
    (sum == checksum(value).to_be_bytes()).then(|| u64::from_be_bytes(*value))
}

fn checksum(value: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_and_refuses_damage() {
        let directory = tempfile::tempdir().unwrap();
        let mut watermark = Watermark::open(directory.path()).unwrap();
        assert_eq!(watermark.number(), 0);
        watermark.set(77).unwrap();
        watermark.set(5).unwrap();
        assert_eq!(Watermark::open(directory.path()).unwrap().number(), 5);
        watermark.file.write_all_at(&[9], 3).unwrap();
        let error = Watermark::open(directory.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
