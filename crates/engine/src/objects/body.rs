//! Taking bytes in: into the index where they are few, else into blobs.

use std::{collections::BTreeMap, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use rhumb_ports::blobs::{BLOB_BYTES_MAX, BlobError, BlobWriter, Blobs};
use rhumb_types::record::{BlobRef, Body};
use tokio::task::{JoinError, JoinSet};

use super::{
    ByteStream, ObjectError,
    copies::Copier,
    digest::{Digested, Digester},
    keep::{Keeper, Pin},
};
use crate::limits::BLOBS_FINISHING_MAX;

/// What came in, pinned until this is dropped.
pub(super) struct TakenIn {
    pub(super) body: Body,
    pub(super) bytes: u64,
    pub(super) digested: Digested,
    pub(super) pins: Vec<Pin>,
    pub(super) copier: Option<Copier>,
}

/// How a body is taken in.
pub(super) struct Intake<'i> {
    pub(super) blobs: &'i Arc<dyn Blobs>,
    pub(super) keeper: &'i Keeper,
    /// How long it is, if the client has said so.
    pub(super) said: Option<u64>,
    /// The most that it may be.
    pub(super) bytes_max: u64,
    /// Up to how much lies in the index.
    pub(super) inline_max: u64,
    /// Whom to tell of blobs that have come in.
    pub(super) copier: Option<Copier>,
}

impl Intake<'_> {
    /// Takes a body in, to its end.
    pub(super) async fn take(
        self,
        mut body: ByteStream,
        digester: Digester,
    ) -> Result<TakenIn, ObjectError> {
        let most = self.said.unwrap_or(self.bytes_max);
        if most > self.bytes_max {
            return Err(too_large(self.bytes_max));
        }
        let mut digester = digester;
        let (mut small, mut total) = (BytesMut::new(), 0_u64);
        let mut cutter: Option<Cutter> = None;
        let mut copier = self.copier;
        while let Some(part) = body.next().await {
            let part = part?;
            total += part.len() as u64;
            if total > most {
                return Err(self.said.map_or_else(
                    || too_large(self.bytes_max),
                    |said| ObjectError::Length { found: total, said },
                ));
            }
            digester.update(&part).await;
            if let Some(cutter) = &mut cutter {
                cutter.write(part).await?;
            } else if total <= self.inline_max {
                small.extend_from_slice(&part);
            } else {
                digester = digester.move_away();
                let mut begun = Cutter::new(self.blobs.clone(), self.keeper.clone(), copier.take());
                begun.write(small.split().freeze()).await?;
                begun.write(part).await?;
                cutter = Some(begun);
            }
        }
        if let Some(said) = self.said.filter(|said| *said != total) {
            return Err(ObjectError::Length { found: total, said });
        }
        let digested = digester.finish().await?;
        Ok(match cutter {
            None => TakenIn {
                body: Body::Inline(small.freeze()),
                bytes: total,
                digested,
                pins: Vec::new(),
                copier,
            },
            Some(cutter) => {
                let Cut { blobs, pins, copier } = cutter.finish().await?;
                TakenIn { body: Body::Blobs(blobs), bytes: total, digested, pins, copier }
            }
        })
    }
}

fn too_large(bytes_max: u64) -> ObjectError {
    ObjectError::Invalid(format!("the body may have {bytes_max} bytes at most"))
}

/// A blob that is durable here, and stays.
type Pinned = (BlobRef, Pin);

/// Which blob of a stream, and what became of it.
type Finishing = (usize, Result<Pinned, BlobError>);

/// Cuts a stream into blobs. While one is made durable the next one is written.
struct Cutter {
    blobs: Arc<dyn Blobs>,
    keeper: Keeper,
    copier: Option<Copier>,
    writer: Option<Box<dyn BlobWriter>>,
    written: u64,
    begun: usize,
    finishing: JoinSet<Finishing>,
    finished: BTreeMap<usize, Pinned>,
}

struct Cut {
    blobs: Vec<BlobRef>,
    pins: Vec<Pin>,
    copier: Option<Copier>,
}

impl Cutter {
    fn new(blobs: Arc<dyn Blobs>, keeper: Keeper, copier: Option<Copier>) -> Self {
        Self {
            blobs,
            keeper,
            copier,
            writer: None,
            written: 0,
            begun: 0,
            finishing: JoinSet::new(),
            finished: BTreeMap::new(),
        }
    }

    async fn write(&mut self, mut bytes: Bytes) -> Result<(), ObjectError> {
        // Copies of what is durable by now begin at once, and not when the next one has to wait.
        while let Some(ended) = self.finishing.try_join_next() {
            self.settled(ended)?;
        }
        while !bytes.is_empty() {
            let writer = match &mut self.writer {
                Some(writer) => writer,
                none => none.insert(self.blobs.create().await?),
            };
            let room = usize::try_from(BLOB_BYTES_MAX - self.written).unwrap_or(usize::MAX);
            let part = bytes.split_to(room.min(bytes.len()));
            self.written += part.len() as u64;
            writer.write(part).await?;
            if self.written == BLOB_BYTES_MAX {
                self.cut().await?;
            }
        }
        Ok(())
    }

    /// Ends the blob that is being written.
    async fn cut(&mut self) -> Result<(), ObjectError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        while self.finishing.len() >= BLOBS_FINISHING_MAX {
            self.settle().await?;
        }
        let (blobs, keeper, nth) = (self.blobs.clone(), self.keeper.clone(), self.begun);
        self.finishing.spawn(async move { (nth, durable(writer, &blobs, &keeper).await) });
        self.begun += 1;
        self.written = 0;
        Ok(())
    }

    /// Waits for one of the blobs that are being made durable.
    async fn settle(&mut self) -> Result<(), ObjectError> {
        match self.finishing.join_next().await {
            Some(ended) => self.settled(ended),
            None => Ok(()),
        }
    }

    fn settled(&mut self, ended: Result<Finishing, JoinError>) -> Result<(), ObjectError> {
        let (nth, blob) = ended.map_err(|error| ObjectError::Body(error.to_string()))?;
        let blob = blob?;
        if let Some(copier) = &mut self.copier {
            copier.add(blob.0);
        }
        self.finished.insert(nth, blob);
        Ok(())
    }

    async fn finish(mut self) -> Result<Cut, ObjectError> {
        self.cut().await?;
        while !self.finishing.is_empty() {
            self.settle().await?;
        }
        let (blobs, pins) = self.finished.into_values().unzip();
        Ok(Cut { blobs, pins, copier: self.copier })
    }
}

/// Makes a blob durable, and pins it.
async fn durable(
    writer: Box<dyn BlobWriter>,
    blobs: &Arc<dyn Blobs>,
    keeper: &Keeper,
) -> Result<Pinned, BlobError> {
    let blob = writer.finish().await?;
    let pin = keeper.pin(blob.hash).await?;
    // It may have been held before, and have gone in the moment before it was pinned.
    match blobs.stat(blob.hash).await? {
        Some(_) => Ok((blob, pin)),
        None => Err(BlobError::Unavailable {
            place: "the store of blobs".to_owned(),
            reason: "the blob was removed in this very moment; try again".to_owned(),
        }),
    }
}
