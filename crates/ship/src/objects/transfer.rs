//! One file to an object, and one object to a file; large ones in parts.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use rhumb_types::RegionId;
use tokio::task::JoinSet;

use super::{Objects, ObjectsError};
use crate::{
    lane::{Tries, retried},
    limits::{PART_BYTES, PARTS_MAX},
    receive::tree::part_name,
    remote::{Listed, Remote, RemoteError},
};

/// A failure of a transfer: of the region, so that another may do, or of this side.
enum Failed {
    There(RemoteError),
    Here(ObjectsError),
}

impl From<RemoteError> for Failed {
    fn from(error: RemoteError) -> Self {
        Self::There(error)
    }
}

impl From<tokio::task::JoinError> for Failed {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Here(error.into())
    }
}

impl Objects {
    /// Uploads a file, to the first region that takes all of it.
    ///
    /// # Errors
    /// When the file cannot be read, or no region takes it.
    pub async fn put(&self, file: &Path, key: &str) -> Result<(RegionId, u64), ObjectsError> {
        let fault = |source| ObjectsError::File { path: file.to_owned(), source };
        let opened = Arc::new(File::open(file).map_err(fault)?);
        let bytes = opened.metadata().map_err(fault)?.len();
        let mut reasons = Vec::new();
        for remote in &self.remotes {
            let upload = Upload {
                remote: remote.clone(),
                key: key.to_owned(),
                file: Arc::clone(&opened),
                name: file.display().to_string(),
                tries: self.tries,
            };
            // Another region begins with the first byte: the file is read again.
            match upload.run(bytes, self.requests).await {
                Ok(()) => return Ok((remote.region().clone(), bytes)),
                Err(Failed::Here(error)) => return Err(error),
                Err(Failed::There(error)) => reasons.push(format!("{}: {error}", remote.region())),
            }
        }
        Err(ObjectsError::Regions(reasons.join("; ")))
    }

    /// Fetches an object into a file, which has its name when all of it is there.
    ///
    /// # Errors
    /// When no region has it, or the file cannot be written.
    pub async fn get(&self, key: &str, file: &Path) -> Result<(RegionId, u64), ObjectsError> {
        let fault = |source| ObjectsError::File { path: file.to_owned(), source };
        let name = file.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default();
        let part = file.with_file_name(String::from_utf8_lossy(&part_name(name)).into_owned());
        if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(fault)?;
        }
        let (first, mut reasons, mut missing) = (&self.remotes, Vec::new(), true);
        for remote in first {
            let writing = Arc::new(File::create(&part).map_err(fault)?);
            let fetched = fetch(remote, key, &writing, self.tries, self.requests).await;
            match fetched {
                Ok(listed) => {
                    fs::rename(&part, file).map_err(fault)?;
                    return Ok((remote.region().clone(), listed.bytes));
                }
                Err(Failed::Here(error)) => {
                    drop(fs::remove_file(&part));
                    return Err(error);
                }
                Err(Failed::There(error)) => {
                    missing &= error.reason == crate::Reason::Missing;
                    reasons.push(format!("{}: {error}", remote.region()));
                }
            }
        }
        drop(fs::remove_file(&part));
        Err(match missing {
            true => ObjectsError::Missing(key.to_owned()),
            false => ObjectsError::Regions(reasons.join("; ")),
        })
    }
}

/// One file on its way to one region.
#[derive(Clone)]
struct Upload {
    remote: Remote,
    key: String,
    file: Arc<File>,
    name: String,
    tries: Tries,
}

impl Upload {
    async fn run(&self, bytes: u64, requests: usize) -> Result<(), Failed> {
        let part_bytes = PART_BYTES.max(bytes.div_ceil(PARTS_MAX));
        if bytes <= part_bytes {
            let body = self.piece(0, bytes).await?;
            let body = std::slice::from_ref(&body);
            return Ok(retried(self.tries, || self.remote.put(&self.key, body)).await?);
        }
        let id = retried(self.tries, || self.remote.begin(&self.key)).await?;
        let sent = self.parts(&id, bytes, part_bytes, requests).await;
        let done = match sent {
            Ok(parts) => {
                let finish = || self.remote.finish(&self.key, &id, parts.clone());
                retried(self.tries, finish).await.map_err(Failed::There)
            }
            Err(failed) => Err(failed),
        };
        if done.is_err() {
            // What is left of it there is the region's to clean up; it may not even answer.
            drop(self.remote.abort(&self.key, &id).await);
        }
        done
    }

    async fn parts(
        &self,
        id: &str,
        bytes: u64,
        part_bytes: u64,
        requests: usize,
    ) -> Result<Vec<String>, Failed> {
        let count = bytes.div_ceil(part_bytes);
        let mut tags = vec![String::new(); usize::try_from(count).unwrap_or(usize::MAX)];
        let mut under_way = JoinSet::new();
        for nth in 0..count {
            while under_way.len() >= requests {
                take_tag(&mut tags, under_way.join_next().await)?;
            }
            let (upload, id, offset) = (self.clone(), id.to_owned(), nth * part_bytes);
            under_way.spawn(async move {
                let body = upload.piece(offset, part_bytes.min(bytes - offset)).await?;
                let nth = usize::try_from(nth).unwrap_or(usize::MAX);
                let put = || upload.remote.part(&upload.key, &id, nth, body.clone());
                Ok((nth, retried(upload.tries, put).await?))
            });
        }
        while !under_way.is_empty() {
            take_tag(&mut tags, under_way.join_next().await)?;
        }
        Ok(tags)
    }

    async fn piece(&self, offset: u64, bytes: u64) -> Result<Bytes, Failed> {
        let (file, name) = (Arc::clone(&self.file), self.name.clone());
        let read = tokio::task::spawn_blocking(move || {
            // At most a part.
            let mut piece = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut piece, offset).map(|()| Bytes::from(piece))
        });
        read.await?.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Failed::Here(ObjectsError::Changed(name)),
            _ => Failed::Here(ObjectsError::File { path: name.into(), source: error }),
        })
    }
}

type Tagged = Result<Result<(usize, String), Failed>, tokio::task::JoinError>;

fn take_tag(tags: &mut [String], tagged: Option<Tagged>) -> Result<(), Failed> {
    let Some(tagged) = tagged else { return Ok(()) };
    let (nth, tag) = tagged??;
    if let Some(place) = tags.get_mut(nth) {
        *place = tag;
    }
    Ok(())
}

/// Writes an object into a file, in ranges that are fetched together.
async fn fetch(
    remote: &Remote,
    key: &str,
    file: &Arc<File>,
    tries: Tries,
    requests: usize,
) -> Result<Listed, Failed> {
    let listed = retried(tries, || remote.head(key)).await?;
    let mut under_way = JoinSet::new();
    let mut at = 0;
    while at < listed.bytes || !under_way.is_empty() {
        if at < listed.bytes && under_way.len() < requests {
            let range = at..listed.bytes.min(at + PART_BYTES);
            at = range.end;
            let (remote, key, tag) = (remote.clone(), key.to_owned(), listed.tag.clone());
            let file = Arc::clone(file);
            under_way.spawn(async move {
                let get = || remote.range(&key, range.clone(), tag.clone());
                let bytes = retried(tries, get).await?;
                let write = move || file.write_all_at(&bytes, range.start);
                let written = tokio::task::spawn_blocking(write).await?;
                written
                    .map_err(|source| Failed::Here(ObjectsError::File { path: key.into(), source }))
            });
            continue;
        }
        let Some(done) = under_way.join_next().await else { continue };
        let done: Result<(), Failed> = done?;
        done?;
    }
    Ok(listed)
}
