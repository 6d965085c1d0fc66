//! Writing a blob: gathered on the caller's task, hashed and written on a blocking thread.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use rhumb_ports::{
    BoxFuture,
    blobs::{BlobError, BlobWriter},
};
use rhumb_types::record::BlobRef;
use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::{JoinHandle, spawn_blocking},
};

use super::{
    directory::{Directory, INCOMING},
    publish::Finished,
};
use crate::pack::{Gathered, Packer};

/// Tells the drafts of this process apart; those of another are removed by the open.
static DRAFTS: AtomicU64 = AtomicU64::new(0);

/// A file without a name yet. Dropping it removes the file.
#[derive(Debug)]
pub(super) struct Draft {
    file: File,
    path: PathBuf,
    is_named: bool,
}

impl Draft {
    fn create(directory: &Directory) -> io::Result<Self> {
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let path = directory.root.join(INCOMING).join(format!("{}-{number}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Self { file, path, is_named: false })
    }

    /// Gives it its name.
    pub(super) fn rename(mut self, name: &Path) -> io::Result<()> {
        fs::rename(&self.path, name)?;
        self.is_named = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_named {
            // What stays is removed by the next open.
            let _gone = fs::remove_file(&self.path);
        }
    }
}

/// A blob under way, on its blocking thread.
#[derive(Debug)]
struct Work {
    packer: Packer,
    draft: Option<Draft>,
}

impl Work {
    fn write(
        &mut self,
        directory: &Directory,
        mut piece: BytesMut,
        is_last: bool,
    ) -> io::Result<()> {
        let at = self.packer.pack(&mut piece, is_last);
        let draft = match &mut self.draft {
            Some(draft) => draft,
            none => none.insert(Draft::create(directory)?),
        };
        draft.file.write_all_at(&piece, at)
    }

    /// Writes what is left and syncs the file.
    fn end(mut self, directory: &Directory, piece: BytesMut) -> io::Result<(Draft, BlobRef)> {
        self.write(directory, piece, true)?;
        let index = self.packer.index();
        let draft = self.draft.ok_or(io::ErrorKind::NotFound)?;
        draft.file.write_all_at(&index.encode(), 0)?;
        draft.file.sync_all()?;
        Ok((draft, BlobRef { hash: index.hash(), bytes: index.bytes }))
    }
}

/// Writes one blob to a file. One piece is being written while the next is gathered.
pub(super) struct FileWriter {
    directory: Arc<Directory>,
    gathered: Gathered,
    work: Option<Work>,
    busy: Option<JoinHandle<Result<Work, BlobError>>>,
    /// Whether no call has failed or was given up.
    is_sound: bool,
}

impl FileWriter {
    pub(super) fn new(directory: Arc<Directory>) -> Self {
        let gathered = Gathered::default();
        Self { directory, gathered, work: None, busy: None, is_sound: true }
    }

    fn failed(&self, reason: String) -> BlobError {
        BlobError::Failed { place: self.directory.place.clone(), reason }
    }

    /// A call begins: until it has ended well, the writer is of no use.
    fn begin(&mut self) -> Result<(), BlobError> {
        if std::mem::take(&mut self.is_sound) {
            return Ok(());
        }
        Err(self.failed("an earlier write of this blob did not come to its end".to_owned()))
    }

    /// Waits for the piece before, and takes the work back.
    async fn rested(&mut self) -> Result<Work, BlobError> {
        if let Some(busy) = &mut self.busy {
            let done = busy.await;
            self.busy = None;
            return done.unwrap_or_else(|error| Err(self.failed(error.to_string())));
        }
        if let Some(work) = self.work.take() {
            return Ok(work);
        }
        let packer = Packer::new(&self.directory.keys);
        let packer = packer.map_err(|error| self.failed(error.to_string()))?;
        Ok(Work { packer, draft: None })
    }

    async fn permit(&self) -> Result<tokio::sync::OwnedSemaphorePermit, BlobError> {
        let permit = Arc::clone(&self.directory.writes).acquire_owned().await;
        permit.map_err(|closed| self.failed(closed.to_string()))
    }

    async fn send(&mut self, piece: BytesMut) -> Result<(), BlobError> {
        let mut work = self.rested().await?;
        let permit = self.permit().await?;
        let directory = Arc::clone(&self.directory);
        self.busy = Some(spawn_blocking(move || {
            let written = work.write(&directory, piece, false);
            drop(permit);
            written.map(|()| work).map_err(|error| directory.error(&error))
        }));
        Ok(())
    }

    async fn add(&mut self, mut bytes: Bytes) -> Result<(), BlobError> {
        self.gathered.admit(bytes.len())?;
        while !bytes.is_empty() {
            if let Some(piece) = self.gathered.fill(&mut bytes) {
                self.send(piece).await?;
            }
        }
        Ok(())
    }

    async fn end(mut self: Box<Self>) -> Result<BlobRef, BlobError> {
        self.begin()?;
        let work = self.rested().await?;
        let permit = self.permit().await?;
        let piece = self.gathered.rest();
        let directory = Arc::clone(&self.directory);
        let (answer, answered) = oneshot::channel();
        let ended = spawn_blocking(move || {
            let ended = work.end(&directory, piece);
            drop(permit);
            let (draft, blob) = ended.map_err(|error| directory.error(&error))?;
            directory.publish(Finished { draft, blob, answer })
        });
        ended.await.unwrap_or_else(|error| Err(self.failed(error.to_string())))?;
        let lost = || self.failed("it was closed".to_owned());
        answered.await.unwrap_or_else(|_| Err(lost()))
    }
}

impl BlobWriter for FileWriter {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), BlobError>> {
        Box::pin(async move {
            self.begin()?;
            self.add(bytes).await?;
            self.is_sound = true;
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<BlobRef, BlobError>> {
        Box::pin(self.end())
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        // The file of a blob that was given up is removed off the task. Work that is under way is
        // dropped where it runs.
        if let (Some(work), Ok(runtime)) = (self.work.take(), Handle::try_current()) {
            runtime.spawn_blocking(move || drop(work));
        }
    }
}
