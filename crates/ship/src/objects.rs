//! Single objects: lists, copies, removals, and folders that are kept alike.
//!
//! A request goes to the first region that answers, in the order in which they were named: with Rhumb's
//! own regions one is as good as another. What is to be done in each region is asked of each.

use std::{io, path::PathBuf};

use futures_util::TryStreamExt as _;
use rhumb_types::RegionId;

use crate::{
    UploadError, UploadSettings,
    lane::{Tries, retried},
    remote::{Listed, Reason, Remote, RemoteError},
    walk::WalkError,
};

mod sync;
mod transfer;

pub use sync::{Action, SyncPlan};

/// The objects of a bucket, in one region or several.
#[derive(Clone, Debug)]
pub struct Objects {
    remotes: Vec<Remote>,
    settings: UploadSettings,
}

/// Why something was not done with an object.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// No region has it.
    #[error("`{0}` is in no region")]
    Missing(String),
    /// No region did it.
    #[error("no region did it: {0}")]
    Regions(String),
    /// A file cannot be read or written.
    #[error("`{}` cannot be read or written", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file changed while it was read, or an object while it was fetched.
    #[error("`{0}` changed meanwhile")]
    Changed(String),
    /// A folder cannot be looked through.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// A file's name is no key that S3 clients agree on.
    #[error("`{}` cannot be the key of an object", .0.display())]
    Key(PathBuf),
    /// Nothing was uploaded.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// A thread of this program broke off.
    #[error("a task broke off")]
    Broken(#[from] tokio::task::JoinError),
}

impl Objects {
    /// The objects in these regions, requested as uploads are made.
    #[must_use]
    pub const fn new(remotes: Vec<Remote>, settings: UploadSettings) -> Self {
        Self { remotes, settings }
    }

    const fn tries(&self) -> Tries {
        Tries { retries: self.settings.retries, delay: self.settings.retry_delay }
    }

    /// What the first region that answers makes of a request.
    async fn first<T, F>(
        &self,
        what: &str,
        request: impl Fn(Remote) -> F,
    ) -> Result<(RegionId, T), ObjectsError>
    where
        F: Future<Output = Result<T, RemoteError>>,
    {
        let (mut reasons, mut missing) = (Vec::new(), true);
        for remote in &self.remotes {
            match retried(self.tries(), || request(remote.clone())).await {
                Ok(answer) => return Ok((remote.region().clone(), answer)),
                Err(error) => {
                    missing &= error.reason == Reason::Missing;
                    reasons.push(format!("{}: {error}", remote.region()));
                }
            }
        }
        Err(match missing {
            true => ObjectsError::Missing(what.to_owned()),
            false => ObjectsError::Regions(reasons.join("; ")),
        })
    }

    /// The objects below a prefix, each handed to `each`, from the first region that answers. With
    /// `folders`, what lies deeper is told as a folder whose key ends with `/`.
    ///
    /// # Errors
    /// When no region answers to the end.
    pub async fn list(
        &self,
        prefix: &str,
        folders: bool,
        mut each: impl FnMut(Listed),
    ) -> Result<RegionId, ObjectsError> {
        let mut reasons = Vec::new();
        for remote in &self.remotes {
            let mut any = false;
            let counted = |listed: Listed| {
                any = true;
                each(listed);
            };
            match list_one(remote, prefix, folders, counted).await {
                Ok(()) => return Ok(remote.region().clone()),
                Err(error) => {
                    reasons.push(format!("{}: {error}", remote.region()));
                    // What was told already cannot be taken back.
                    if any {
                        break;
                    }
                }
            }
        }
        Err(ObjectsError::Regions(reasons.join("; ")))
    }

    /// What each region knows of an object.
    pub async fn stat(&self, key: &str) -> Vec<(RegionId, Result<Listed, RemoteError>)> {
        let mut all = Vec::new();
        for remote in &self.remotes {
            let known = retried(self.tries(), || remote.head(key)).await;
            all.push((remote.region().clone(), known));
        }
        all
    }

    /// Removes an object: in the first region that answers, or in each.
    ///
    /// # Errors
    /// When no region says that it is gone, or one of all does not.
    pub async fn remove(&self, key: &str, everywhere: bool) -> Result<(), ObjectsError> {
        if !everywhere {
            return self
                .first(key, |remote| async move { remote.delete(key).await })
                .await
                .map(drop);
        }
        let mut reasons = Vec::new();
        for remote in &self.remotes {
            if let Err(error) = retried(self.tries(), || remote.delete(key)).await {
                reasons.push(format!("{}: {error}", remote.region()));
            }
        }
        if reasons.is_empty() { Ok(()) } else { Err(ObjectsError::Regions(reasons.join("; "))) }
    }

    /// Removes everything below a prefix, several objects at a time: in the first region that answers, or in
    /// each. Tells what is removed.
    ///
    /// # Errors
    /// The first removal that fails ends it.
    pub async fn remove_below(
        &self,
        prefix: &str,
        everywhere: bool,
        mut removed: impl FnMut(&RegionId, &str),
    ) -> Result<(), ObjectsError> {
        let mut reasons = Vec::new();
        for remote in &self.remotes {
            match self.remove_one(remote, prefix, &mut removed).await {
                Ok(()) if everywhere => {}
                Ok(()) => return Ok(()),
                Err((error, some)) => {
                    reasons.push(format!("{}: {error}", remote.region()));
                    if some {
                        break;
                    }
                }
            }
        }
        if reasons.is_empty() { Ok(()) } else { Err(ObjectsError::Regions(reasons.join("; "))) }
    }

    /// Says, of an error, whether something was removed before.
    async fn remove_one(
        &self,
        remote: &Remote,
        prefix: &str,
        removed: &mut impl FnMut(&RegionId, &str),
    ) -> Result<(), (RemoteError, bool)> {
        let (tries, mut some) = (self.tries(), false);
        let deleted = remote.list(prefix).map_ok(|object| async move {
            retried(tries, || remote.delete(&object.key)).await.map(|()| object.key)
        });
        let mut deleted = deleted.try_buffer_unordered(self.settings.requests.max(1));
        loop {
            match deleted.try_next().await {
                Ok(Some(key)) => removed(remote.region(), &key),
                Ok(None) => return Ok(()),
                Err(error) => return Err((error, some)),
            }
            some = true;
        }
    }

    /// Copies an object within the bucket, without fetching it.
    ///
    /// # Errors
    /// When no region does it.
    pub async fn copy(&self, from: &str, to: &str) -> Result<RegionId, ObjectsError> {
        let copied = self.first(from, |remote| async move { remote.copy(from, to).await }).await?;
        Ok(copied.0)
    }
}

async fn list_one(
    remote: &Remote,
    prefix: &str,
    folders: bool,
    mut each: impl FnMut(Listed),
) -> Result<(), RemoteError> {
    if folders {
        remote.folder(prefix).await?.into_iter().for_each(each);
        return Ok(());
    }
    let mut listed = remote.list(prefix);
    while let Some(object) = listed.try_next().await? {
        each(object);
    }
    Ok(())
}
