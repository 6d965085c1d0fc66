//! What an upload reads from: a file, bytes, or a stream, which may be spooled to a file on the way.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::UploadError;

/// What is uploaded.
pub enum UploadSource {
    /// A file. It is read again where that is needed.
    File(PathBuf),
    /// Bytes in memory.
    Bytes(Bytes),
    /// Whatever can be read once. A region that lacks what was read before it was needed is out.
    Stream(Box<dyn Read + Send>),
    /// The same, written to a temporary file on the way, so that it can be read again.
    Spooled(Box<dyn Read + Send>),
}

impl fmt::Debug for UploadSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Bytes(bytes) => f.debug_tuple("Bytes").field(&bytes.len()).finish(),
            Self::Stream(_) => f.write_str("Stream"),
            Self::Spooled(_) => f.write_str("Spooled"),
        }
    }
}

/// Where a part is read again.
#[derive(Clone, Debug)]
pub(super) enum Again {
    File(Arc<File>),
    Bytes(Bytes),
    Nowhere,
}

/// A source that is open.
pub(super) struct Opened {
    name: PathBuf,
    /// How long it is, where that is known.
    pub(super) total: Option<u64>,
    pub(super) again: Again,
    input: Option<Input>,
    reading: Option<JoinHandle<(Input, io::Result<Bytes>)>>,
}

enum Input {
    File { file: Arc<File>, at: u64, begun: Stamp },
    Bytes(Bytes),
    Stream { input: Box<dyn Read + Send>, spool: Option<Arc<File>> },
}

/// How a file looked.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self { bytes: meta.len(), changed: (meta.mtime(), meta.mtime_nsec()) })
    }
}

impl Opened {
    pub(super) fn new(source: UploadSource) -> Result<Self, UploadError> {
        let (name, opened) = match source {
            UploadSource::File(path) => (path.clone(), Self::file(&path)),
            UploadSource::Bytes(bytes) => {
                let total = Some(bytes.len() as u64);
                (PathBuf::new(), Ok((total, Again::Bytes(bytes.clone()), Input::Bytes(bytes))))
            }
            UploadSource::Stream(input) => {
                let input = Input::Stream { input, spool: None };
                (PathBuf::from("-"), Ok((None, Again::Nowhere, input)))
            }
            UploadSource::Spooled(input) => (PathBuf::from("-"), Self::spooled(input)),
        };
        match opened {
            Ok((total, again, input)) => {
                Ok(Self { name, total, again, input: Some(input), reading: None })
            }
            Err(source) => Err(UploadError::Source { name, source }),
        }
    }

    fn file(path: &PathBuf) -> io::Result<(Option<u64>, Again, Input)> {
        let file = Arc::new(File::open(path)?);
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let begun = Stamp::of(&file)?;
        let again = Again::File(Arc::clone(&file));
        Ok((Some(begun.bytes), again, Input::File { file, at: 0, begun }))
    }

    fn spooled(input: Box<dyn Read + Send>) -> io::Result<(Option<u64>, Again, Input)> {
        let spool = Arc::new(tempfile::tempfile()?);
        let again = Again::File(Arc::clone(&spool));
        Ok((None, again, Input::Stream { input, spool: Some(spool) }))
    }

    /// The next bytes, as many as are wanted unless the source ends. May be dropped without loss.
    pub(super) async fn read(&mut self, bytes: usize) -> Result<Bytes, UploadError> {
        if let Some(mut input) = self.input.take() {
            self.reading = Some(tokio::task::spawn_blocking(move || {
                let read = input.read(bytes);
                (input, read)
            }));
        }
        let Some(reading) = &mut self.reading else { return Ok(Bytes::new()) };
        let (input, read) = reading.await?;
        (self.input, self.reading) = (Some(input), None);
        read.map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => UploadError::Changed(self.name.clone()),
            _ => UploadError::Source { name: self.name.clone(), source },
        })
    }
}

impl Input {
    fn read(&mut self, wanted: usize) -> io::Result<Bytes> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.split_to(wanted.min(bytes.len()))),
            Self::File { file, at, begun } => {
                let left = usize::try_from(begun.bytes - *at).unwrap_or(usize::MAX);
                let mut part = vec![0; wanted.min(left)];
                file.read_exact_at(&mut part, *at)?;
                *at += part.len() as u64;
                if *at == begun.bytes && Stamp::of(file)? != *begun {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(part.into())
            }
            Self::Stream { input, spool } => {
                let mut part = Vec::new();
                input.by_ref().take(wanted as u64).read_to_end(&mut part)?;
                if let Some(spool) = spool {
                    spool.as_ref().write_all(&part)?;
                }
                Ok(part.into())
            }
        }
    }
}

impl Again {
    /// A part that was read before.
    pub(super) async fn read(self, offset: u64, bytes: u64) -> io::Result<Bytes> {
        // A part is never longer than memory.
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        match self {
            Self::Nowhere => Err(io::ErrorKind::NotSeekable.into()),
            Self::Bytes(whole) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                Ok(whole.slice(from..from.saturating_add(length)))
            }
            Self::File(file) => {
                let read = move || {
                    let mut part = vec![0; length];
                    file.read_exact_at(&mut part, offset).map(|()| Bytes::from(part))
                };
                tokio::task::spawn_blocking(read).await?
            }
        }
    }
}
