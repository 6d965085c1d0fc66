//! Real files.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use rhumb_ports::BoxFuture;
use rustix::fs::{FlockOperation, flock};

use super::Disk;

/// Holds the lock that keeps a second process out.
const LOCK_NAME: &str = "lock";
/// Ends the name of a file that is not yet in place.
const UNFINISHED_SUFFIX: &str = ".new";

/// Why a directory could not be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another group of this one, uses it.
    #[error("use {0}: another process holds its lock")]
    Locked(PathBuf),
    /// The file system said no.
    #[error("use {path}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// A directory of the file system, locked against a second user.
///
/// Every operation runs on the runtime's blocking threads, so that a slow disk does not hold up
/// the messages of the group.
#[derive(Debug, Clone)]
pub struct FileDisk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    /// The file that was appended to last, kept open. A lock, because operations run on several
    /// threads; they never overlap in practice.
    open: Mutex<Option<(String, File)>>,
    /// Released with the last operation, because each operation holds `Inner`.
    _lock: File,
}

impl FileDisk {
    /// Creates the directory when it is missing, locks it, and removes files that were never put
    /// in place.
    ///
    /// # Errors
    /// When it is locked by somebody else, or cannot be created or read.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let directory = directory.into();
        let lock = prepare(&directory)
            .map_err(|source| OpenError::Io { path: directory.clone(), source })?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| OpenError::Locked(directory.clone()))?;
        sweep(&directory).map_err(|source| OpenError::Io { path: directory.clone(), source })?;
        Ok(Self(Arc::new(Inner { directory, open: Mutex::new(None), _lock: lock })))
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Inner) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || operation(&inner)).await.map_err(io::Error::other)?
    }
}

fn prepare(directory: &Path) -> io::Result<File> {
    fs::create_dir_all(directory)?;
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        File::open(parent)?.sync_all()?;
    }
    OpenOptions::new().create(true).truncate(false).write(true).open(directory.join(LOCK_NAME))
}

fn sweep(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(UNFINISHED_SUFFIX) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

impl Inner {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != LOCK_NAME {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.forget(name);
        let unfinished = self.directory.join(format!("{name}{UNFINISHED_SUFFIX}"));
        let mut file = File::create(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&unfinished, self.directory.join(name))?;
        File::open(&self.directory)?.sync_all()
    }

    fn with_open<T>(
        &self,
        name: &str,
        operation: impl FnOnce(&mut File) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.as_ref().is_none_or(|(opened, _)| opened != name) {
            let file = OpenOptions::new().append(true).open(self.directory.join(name))?;
            *open = Some((name.to_owned(), file));
        }
        match open.as_mut() {
            Some((_, file)) => operation(file),
            None => Err(io::Error::other("the file was not opened")),
        }
    }

    fn forget(&self, name: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.take_if(|(opened, _)| opened == name);
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.forget(name);
        match fs::remove_file(self.directory.join(name)) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

impl Disk for FileDisk {
    fn list(&self) -> BoxFuture<'_, io::Result<Vec<String>>> {
        Box::pin(self.run(Inner::list))
    }

    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Option<Bytes>>> {
        let name = name.to_owned();
        Box::pin(self.run(move |inner| match fs::read(inner.directory.join(&name)) {
            Ok(content) => Ok(Some(content.into())),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(fault) => Err(fault),
        }))
    }

    fn replace<'a>(&'a self, name: &'a str, content: Bytes) -> BoxFuture<'a, io::Result<()>> {
        let name = name.to_owned();
        Box::pin(self.run(move |inner| inner.replace(&name, &content)))
    }

    fn append<'a>(&'a self, name: &'a str, content: Bytes) -> BoxFuture<'a, io::Result<()>> {
        let name = name.to_owned();
        Box::pin(self.run(move |inner| inner.with_open(&name, |file| file.write_all(&content))))
    }

    fn sync<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<()>> {
        let name = name.to_owned();
        Box::pin(self.run(move |inner| inner.with_open(&name, |file| file.sync_data())))
    }

    fn hint<'a>(&'a self, name: &'a str, content: Bytes) -> BoxFuture<'a, io::Result<()>> {
        let name = name.to_owned();
        Box::pin(self.run(move |inner| fs::write(inner.directory.join(&name), &content)))
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<()>> {
        let name = name.to_owned();
        Box::pin(self.run(move |inner| inner.remove(&name)))
    }
}
