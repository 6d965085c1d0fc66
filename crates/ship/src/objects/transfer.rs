//! One file to an object, and one object to a file; large ones in parts.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
};

use futures_util::{StreamExt as _, stream};
use rhumb_types::RegionId;
use tokio::task::JoinSet;

use super::{Objects, ObjectsError};
use crate::{
    Progress, UploadSource, Uploaded, Uploader, Verdict,
    lane::retried,
    limits::RANGE_BYTES,
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
    /// Uploads an object: to the first region that takes all of it, or to as many as are wanted.
    ///
    /// # Errors
    /// When the source cannot be read, or too few regions take it.
    pub async fn put(
        &self,
        source: UploadSource,
        key: &str,
        progress: &Progress,
    ) -> Result<Uploaded, ObjectsError> {
        let uploader = Uploader::new(self.remotes.clone(), self.settings)?;
        let uploaded = uploader.upload_shown(key, source, progress).await?;
        if uploaded.verdict == Verdict::Failed {
            return Err(ObjectsError::Regions(uploaded.reasons()));
        }
        Ok(uploaded)
    }

    /// Fetches an object into a file, which has its name when all of it is there.
    ///
    /// # Errors
    /// When no region has it, or the file cannot be written.
    pub async fn get(
        &self,
        key: &str,
        file: &Path,
        progress: &Progress,
    ) -> Result<(RegionId, u64), ObjectsError> {
        let fault = |source| ObjectsError::File { path: file.to_owned(), source };
        let name = file.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default();
        let part = file.with_file_name(String::from_utf8_lossy(&part_name(name)).into_owned());
        if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(fault)?;
        }
        let (first, mut reasons, mut missing) = (&self.remotes, Vec::new(), true);
        for remote in first {
            let writing = Arc::new(File::create(&part).map_err(fault)?);
            let fetched = self.fetch(remote, key, &writing, progress).await;
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

impl Objects {
    /// How many ranges are fetched at a time.
    fn ranges(&self) -> usize {
        let fit = self.settings.memory as u64 / RANGE_BYTES;
        usize::try_from(fit).unwrap_or(usize::MAX).clamp(1, self.settings.requests.max(1))
    }

    /// Writes an object into a file, in ranges that are fetched together.
    async fn fetch(
        &self,
        remote: &Remote,
        key: &str,
        file: &Arc<File>,
        progress: &Progress,
    ) -> Result<Listed, Failed> {
        let (tries, ranges) = (self.tries(), self.ranges());
        let listed = retried(tries, || remote.head(key)).await?;
        progress.total.add(listed.bytes.saturating_sub(progress.total.get()));
        let mut under_way = JoinSet::new();
        let mut at = 0;
        while at < listed.bytes || !under_way.is_empty() {
            if at < listed.bytes && under_way.len() < ranges {
                let range = at..listed.bytes.min(at + RANGE_BYTES);
                at = range.end;
                let (remote, key, tag) = (remote.clone(), key.to_owned(), listed.tag.clone());
                let file = Arc::clone(file);
                under_way.spawn(async move {
                    let get = || remote.range(&key, range.clone(), tag.clone());
                    let bytes = retried(tries, get).await?;
                    let write = move || file.write_all_at(&bytes, range.start);
                    let bytes = range.end - range.start;
                    let written = tokio::task::spawn_blocking(write).await?;
                    let fault =
                        |source| Failed::Here(ObjectsError::File { path: key.into(), source });
                    written.map_err(fault).map(|()| bytes)
                });
                continue;
            }
            let Some(done) = under_way.join_next().await else { continue };
            let done: Result<u64, Failed> = done?;
            let bytes = done?;
            progress.done.add(bytes);
            progress.region(remote.region()).inspect(|shown| shown.bytes.add(bytes));
        }
        Ok(listed)
    }

    /// Writes an object to an output, from the first region that has it.
    ///
    /// # Errors
    /// When no region has it, the region does not give all of it, or it cannot be written.
    pub async fn pour(
        &self,
        key: &str,
        mut output: Box<dyn Write + Send>,
        progress: &Progress,
    ) -> Result<(RegionId, u64), ObjectsError> {
        let (tries, known) = (
            self.tries(),
            self.first(key, |remote| async move {
                remote.head(key).await.map(|listed| (remote, listed))
            }),
        );
        let (region, (remote, listed)) = known.await?;
        progress.total.add(listed.bytes);
        let begins = (0..listed.bytes).step_by(usize::try_from(RANGE_BYTES).unwrap_or(usize::MAX));
        let (remote, tag) = (&remote, &listed.tag);
        let ranges = begins.map(|begin| {
            let range = begin..listed.bytes.min(begin + RANGE_BYTES);
            retried(tries, move || remote.range(key, range.clone(), tag.clone()))
        });
        let mut ranges = stream::iter(ranges).buffered(self.ranges());
        while let Some(bytes) = ranges.next().await {
            let bytes =
                bytes.map_err(|error| ObjectsError::Regions(format!("{region}: {error}")))?;
            let written = tokio::task::spawn_blocking(move || {
                let written = output.write_all(&bytes).and_then(|()| output.flush());
                (output, bytes.len() as u64, written)
            });
            let (back, bytes, written) = written.await?;
            output = back;
            written.map_err(|source| ObjectsError::File { path: "-".into(), source })?;
            progress.done.add(bytes);
        }
        Ok((region, listed.bytes))
    }
}
