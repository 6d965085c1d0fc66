//! The archive's stream, as far as it is needed, from packs that come in its order.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::ReceiveError;
use crate::budget::Held;

/// A pack that was checked.
#[derive(Debug)]
pub(super) struct Block {
    /// Where it begins in the stream.
    pub(super) start: u64,
    /// How long it is.
    pub(super) bytes: u64,
    pub(super) chunks: Vec<Bytes>,
    pub(super) _held: Held,
}

/// Reads ranges of the stream, each behind the one before.
#[derive(Debug)]
pub(super) struct Stream {
    incoming: mpsc::Receiver<Result<Block, ReceiveError>>,
    block: Option<Block>,
}

impl Stream {
    pub(super) fn new(incoming: mpsc::Receiver<Result<Block, ReceiveError>>) -> Self {
        Self { incoming, block: None }
    }

    /// Hands a range to `take`, piece by piece.
    pub(super) fn read(
        &mut self,
        mut at: u64,
        bytes: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), ReceiveError>,
    ) -> Result<(), ReceiveError> {
        let end = at.saturating_add(bytes);
        while at < end {
            let block = self.block_with(at)?;
            let mut chunk_start = block.start;
            for chunk in &block.chunks {
                let chunk_end = chunk_start + chunk.len() as u64;
                if at < chunk_end && chunk_start < end {
                    let from = usize::try_from(at - chunk_start).unwrap_or(usize::MAX);
                    let to =
                        usize::try_from(end.min(chunk_end) - chunk_start).unwrap_or(usize::MAX);
                    take(chunk.get(from..to).unwrap_or_default())?;
                    at = end.min(chunk_end);
                }
                chunk_start = chunk_end;
            }
        }
        Ok(())
    }

    fn block_with(&mut self, at: u64) -> Result<&Block, ReceiveError> {
        let covers = |block: &Block| (block.start..block.start + block.bytes).contains(&at);
        while !self.block.as_ref().is_some_and(covers) {
            // Its memory goes before the next is waited for.
            self.block = None;
            let next = self.incoming.blocking_recv().ok_or(ReceiveError::GivenUp)??;
            self.block = Some(next);
        }
        self.block.as_ref().ok_or(ReceiveError::GivenUp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_come_from_the_packs_that_were_asked_for() {
        let (packs, incoming) = mpsc::channel(8);
        let block = |start: u64, chunks: &[&'static str]| Block {
            start,
            bytes: chunks.iter().map(|chunk| chunk.len() as u64).sum(),
            chunks: chunks.iter().map(|chunk| Bytes::from_static(chunk.as_bytes())).collect(),
            _held: Held::default(),
        };
        packs.try_send(Ok(block(0, &["abc", "def"]))).unwrap();
        packs.try_send(Ok(block(6, &["ghi"]))).unwrap();
        packs.try_send(Ok(block(20, &["uvw"]))).unwrap();
        drop(packs);
        let mut stream = Stream::new(incoming);
        let mut read = |at, bytes| {
            let mut text = Vec::new();
            let all = stream.read(at, bytes, |piece| {
                text.extend_from_slice(piece);
                Ok(())
            });
            all.map(|()| String::from_utf8(text).unwrap())
        };
        assert_eq!(read(1, 1).unwrap(), "b");
        assert_eq!(read(2, 6).unwrap(), "cdefgh");
        assert_eq!(read(8, 0).unwrap(), "");
        assert_eq!(read(21, 2).unwrap(), "vw");
        assert!(matches!(read(23, 1), Err(ReceiveError::GivenUp)));
    }
}
