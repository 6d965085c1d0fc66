//! What is computed over a body while it comes in.
//!
//! MD5 and its kin are slower than a disk, so that those of a longer body are computed beside what
//! stores it: MD5, which is the slowest and always wanted, on a thread of its own, and all others on
//! another.

use std::sync::Arc;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use md5::Md5;
use rhumb_objects::checksum::{Algorithm, written};
use rhumb_types::record::Checksums;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use tokio::{sync::mpsc, task::JoinHandle};

use super::ObjectError;
use crate::limits::{DIGEST_PIECE_BYTES, DIGEST_UNREAD_MAX};

/// Gives the checksums that came after the body.
pub type Late = Box<dyn FnOnce() -> Result<Checksums, ObjectError> + Send>;

/// What a body must be, and what to compute over it. Its MD5 is always computed.
#[derive(Default)]
pub struct Digests {
    /// The MD5 that it must have.
    pub md5: Option<[u8; 16]>,
    /// The SHA-256 that it must have: that of the signed payload.
    pub sha256: Option<[u8; 32]>,
    /// The checksums that it must have, and that are kept with it.
    pub expected: Checksums,
    /// More of these, told once the body has ended.
    pub late: Option<Late>,
    /// Which to compute and keep, though nobody said what they must be.
    pub compute: Vec<Algorithm>,
}

impl std::fmt::Debug for Digests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { md5, sha256, expected, late, compute } = self;
        f.debug_struct("Digests")
            .field("md5", md5)
            .field("sha256", sha256)
            .field("expected", expected)
            .field("late", &late.is_some())
            .field("compute", compute)
            .finish()
    }
}

/// What a body came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Digested {
    pub(super) md5: [u8; 16],
    pub(super) checksums: Checksums,
}

/// What is under way.
struct Hashes {
    md5: Option<Md5>,
    sha1: Option<Sha1>,
    sha256: Option<Sha256>,
    crcs: Vec<(Algorithm, Crc)>,
}

impl Hashes {
    fn new(wanted: &[Algorithm], signed: bool) -> Self {
        let wants = |algorithm| wanted.contains(&algorithm);
        let crc = |algorithm: Algorithm| {
            let kind = match algorithm {
                Algorithm::Crc32 => CrcAlgorithm::Crc32IsoHdlc,
                Algorithm::Crc32c => CrcAlgorithm::Crc32Iscsi,
                Algorithm::Crc64Nvme => CrcAlgorithm::Crc64Nvme,
                Algorithm::Sha1 | Algorithm::Sha256 => return None,
            };
            wants(algorithm).then(|| (algorithm, Crc::new(kind)))
        };
        Self {
            md5: Some(Md5::new()),
            sha1: wants(Algorithm::Sha1).then(Sha1::new),
            sha256: (signed || wants(Algorithm::Sha256)).then(Sha256::new),
            crcs: Algorithm::ALL.into_iter().filter_map(crc).collect(),
        }
    }

    /// MD5, and what else there is.
    fn split(mut self) -> (Self, Option<Self>) {
        let md5 = Self { md5: self.md5.take(), sha1: None, sha256: None, crcs: Vec::new() };
        let others = self.sha1.is_some() || self.sha256.is_some() || !self.crcs.is_empty();
        (md5, others.then_some(self))
    }

    fn update(&mut self, bytes: &[u8]) {
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some(sha1) = &mut self.sha1 {
            sha1.update(bytes);
        }
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        self.crcs.iter_mut().for_each(|(_, crc)| crc.update(bytes));
    }

    fn finish(self) -> Finished {
        let mut values: Vec<(Algorithm, Vec<u8>)> = Vec::new();
        for (algorithm, crc) in self.crcs {
            let value = crc.finalize().to_be_bytes();
            let used = value.len() - algorithm.bytes();
            values.push((algorithm, value.into_iter().skip(used).collect()));
        }
        values.extend(self.sha1.map(|sha1| (Algorithm::Sha1, sha1.finalize().to_vec())));
        values.extend(self.sha256.map(|it| (Algorithm::Sha256, it.finalize().to_vec())));
        Finished { md5: self.md5.map(|md5| md5.finalize().into()), values }
    }
}

#[derive(Default)]
struct Finished {
    md5: Option<[u8; 16]>,
    values: Vec<(Algorithm, Vec<u8>)>,
}

/// A thread that computes.
struct Lane {
    parts: mpsc::Sender<Arc<[Bytes]>>,
    thread: JoinHandle<Finished>,
}

impl Lane {
    fn begin(mut hashes: Hashes) -> Self {
        let (parts, mut coming) = mpsc::channel::<Arc<[Bytes]>>(DIGEST_UNREAD_MAX);
        let thread = tokio::task::spawn_blocking(move || {
            while let Some(parts) = coming.blocking_recv() {
                parts.iter().for_each(|part| hashes.update(part));
            }
            hashes.finish()
        });
        Self { parts, thread }
    }
}

/// The threads that compute over one body. What comes in small pieces is handed over in larger ones: to
/// wake a thread costs more than to hash a piece.
struct Beside {
    lanes: Vec<Lane>,
    gathered: Vec<Bytes>,
    bytes: usize,
}

impl Beside {
    async fn update(&mut self, bytes: &Bytes) {
        self.bytes += bytes.len();
        self.gathered.push(bytes.clone());
        if self.bytes >= DIGEST_PIECE_BYTES {
            self.hand_over().await;
        }
    }

    async fn hand_over(&mut self) {
        self.bytes = 0;
        let parts: Arc<[Bytes]> = std::mem::take(&mut self.gathered).into();
        for lane in &self.lanes {
            // A thread that is gone is noticed at the end.
            let _gone = lane.parts.send(parts.clone()).await;
        }
    }

    /// What all threads came to.
    async fn finish(mut self) -> Result<Finished, ObjectError> {
        self.hand_over().await;
        let (parts, threads): (Vec<_>, Vec<_>) =
            self.lanes.into_iter().map(|lane| (lane.parts, lane.thread)).unzip();
        // The body has ended, for all of them.
        drop(parts);
        let mut all = Finished::default();
        for thread in threads {
            let one = thread.await.map_err(|error| ObjectError::Body(error.to_string()))?;
            all.md5 = all.md5.or(one.md5);
            all.values.extend(one.values);
        }
        Ok(all)
    }
}

/// Computes over a body as it comes in.
pub(super) struct Digester {
    expected: Digests,
    at: At,
}

enum At {
    Here(Box<Hashes>),
    Beside(Beside),
}

impl Digester {
    /// Of which kinds checksums come after the body is in `compute`.
    pub(super) fn new(expected: Digests) -> Self {
        let mut wanted = expected.compute.clone();
        let given = |kind: &Algorithm| kind.of(&expected.expected).is_some();
        wanted.extend(Algorithm::ALL.into_iter().filter(given));
        let hashes = Hashes::new(&wanted, expected.sha256.is_some());
        Self { expected, at: At::Here(Box::new(hashes)) }
    }

    /// The body is long: computes it beside what stores it from now on.
    pub(super) fn move_away(self) -> Self {
        let At::Here(hashes) = self.at else { return self };
        let (md5, others) = hashes.split();
        let lanes = std::iter::once(md5).chain(others).map(Lane::begin).collect();
        Self { at: At::Beside(Beside { lanes, gathered: Vec::new(), bytes: 0 }), ..self }
    }

    pub(super) async fn update(&mut self, bytes: &Bytes) {
        match &mut self.at {
            At::Here(hashes) => hashes.update(bytes),
            At::Beside(beside) => beside.update(bytes).await,
        }
    }

    /// Compares what came with what was said of it.
    pub(super) async fn finish(self) -> Result<Digested, ObjectError> {
        let Finished { md5, values } = match self.at {
            At::Here(hashes) => hashes.finish(),
            At::Beside(beside) => beside.finish().await?,
        };
        let md5 = md5.ok_or_else(|| ObjectError::Body("its MD5 was not computed".to_owned()))?;
        let Digests { md5: said, sha256, mut expected, late, compute } = self.expected;
        if said.is_some_and(|said| said != md5) {
            return Err(ObjectError::Digest("MD5"));
        }
        if let Some(late) = late {
            let late = late()?;
            for kind in Algorithm::ALL {
                if let Some(text) = kind.of(&late) {
                    kind.set(&mut expected, text.to_owned());
                }
            }
        }
        let mut checksums = Checksums::default();
        for (kind, value) in &values {
            let is_payload = *kind == Algorithm::Sha256
                && sha256.is_some_and(|said| said.as_slice() != value.as_slice());
            if is_payload {
                return Err(ObjectError::Digest("SHA-256 of the payload"));
            }
            let text = written(value);
            let wanted = kind.of(&expected);
            if wanted.is_some_and(|said| said != text) {
                return Err(ObjectError::Digest(kind.name()));
            }
            if wanted.is_some() || compute.contains(kind) {
                kind.set(&mut checksums, text);
            }
        }
        let unknown = |kind: &Algorithm| {
            kind.of(&expected).is_some() && !values.iter().any(|(known, _)| known == kind)
        };
        if let Some(kind) = Algorithm::ALL.into_iter().find(unknown) {
            // A checksum came after the body of which nobody had said that it would.
            return Err(ObjectError::Digest(kind.name()));
        }
        Ok(Digested { md5, checksums })
    }
}
