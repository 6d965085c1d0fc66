//! Reading a long file ahead of who cuts it.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::mpsc::{Receiver, SyncSender},
};

use crate::limits::READ_BYTES;

/// A buffer, and how much of it is filled.
pub(super) type Piece = io::Result<(Vec<u8>, usize)>;

/// Reads ahead of who cuts, who gives back the buffers.
pub(super) struct Ahead {
    pub(super) filled: SyncSender<Piece>,
    pub(super) emptied: Receiver<Vec<u8>>,
    /// Buffers that were not made yet.
    pub(super) fresh: usize,
}

impl Ahead {
    /// Reads a range of a file, or what is left of it, as long as somebody takes it.
    pub(super) fn read(
        mut self,
        file: &File,
        offset: u64,
        bytes: u64,
        hasher: &mut blake3::Hasher,
    ) {
        let mut done = 0;
        while done < bytes
            && let Some(mut buffer) = self.buffer()
        {
            let most = usize::try_from(bytes - done).unwrap_or(READ_BYTES).min(READ_BYTES);
            let read = read_at(file, buffer.get_mut(..most).unwrap_or_default(), offset + done);
            let piece = read.map(|read| (buffer, read));
            let read = piece.as_ref().map_or(0, |(_, read)| *read);
            if let Ok((buffer, read)) = &piece {
                hasher.update(buffer.get(..*read).unwrap_or_default());
            }
            done += read as u64;
            if self.filled.send(piece).is_err() || read == 0 {
                return;
            }
        }
    }

    fn buffer(&mut self) -> Option<Vec<u8>> {
        if self.fresh == 0 {
            return self.emptied.recv().ok();
        }
        self.fresh -= 1;
        Some(vec![0; READ_BYTES])
    }
}

/// Reads once, whatever signal comes.
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
