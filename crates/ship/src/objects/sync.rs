//! Folders and prefixes that are kept alike: what is new or changed is copied, and the rest left alone.
//!
//! An object counts as the file's when it has the file's size and is not older, as with other tools for
//! S3. Who needs more certainty ships an archive.

use std::{
    collections::BTreeMap,
    fs::{self, FileTimes},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::task::JoinSet;

use super::{Objects, ObjectsError};
use crate::{
    Progress, UploadSettings, UploadSource, Verdict,
    limits::LISTED_MAX,
    remote::{Listed, path},
    walk::Walk,
};

/// What has to be done for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A file goes to its object.
    Upload {
        /// The file.
        file: PathBuf,
        /// The key of the object.
        key: String,
        /// How large it is.
        bytes: u64,
    },
    /// An object goes to its file.
    Download {
        /// The key of the object.
        key: String,
        /// The file.
        file: PathBuf,
        /// How large it is.
        bytes: u64,
        /// When the object was changed, in milliseconds since 1970; the file gets this time.
        changed: i64,
    },
    /// An object has no file.
    RemoveObject(String),
    /// A file has no object.
    RemoveFile(PathBuf),
}

/// What has to be done so that both sides are alike.
#[derive(Clone, Debug, Default)]
pub struct SyncPlan {
    /// One after the other, removals last.
    pub actions: Vec<Action>,
    /// Objects and files that are alike.
    pub alike: u64,
    /// Links and the like, which objects cannot be.
    pub left_out: u64,
}

/// A file of the folder.
struct Local {
    path: PathBuf,
    bytes: u64,
    changed: i64,
}

impl Objects {
    /// What has to be done so that the prefix has what the folder has.
    ///
    /// # Errors
    /// When one of them cannot be looked through.
    pub async fn plan_up(
        &self,
        folder: &Path,
        prefix: &str,
        remove: bool,
    ) -> Result<SyncPlan, ObjectsError> {
        let (locals, left_out) = locals(folder, prefix).await?;
        let mut objects = self.objects(prefix).await?;
        let mut plan = SyncPlan { left_out, ..SyncPlan::default() };
        for (key, local) in locals {
            let object = objects.remove(&key);
            let alike =
                |object: &Listed| object.bytes == local.bytes && object.changed >= local.changed;
            if object.as_ref().is_some_and(alike) {
                plan.alike += 1;
            } else {
                plan.actions.push(Action::Upload { file: local.path, key, bytes: local.bytes });
            }
        }
        if remove {
            plan.actions.extend(objects.into_keys().map(Action::RemoveObject));
        }
        Ok(plan)
    }

    /// What has to be done so that the folder has what the prefix has.
    ///
    /// # Errors
    /// When one of them cannot be looked through, or a key leads out of the folder.
    pub async fn plan_down(
        &self,
        prefix: &str,
        folder: &Path,
        remove: bool,
    ) -> Result<SyncPlan, ObjectsError> {
        let (mut locals, left_out) =
            if folder.exists() { locals(folder, prefix).await? } else { (BTreeMap::new(), 0) };
        let mut plan = SyncPlan { left_out, ..SyncPlan::default() };
        for (key, object) in self.objects(prefix).await? {
            let alike = |local: &Local| {
                // A file keeps whole milliseconds here.
                object.bytes == local.bytes && object.changed <= local.changed
            };
            if locals.remove(&key).as_ref().is_some_and(alike) {
                plan.alike += 1;
                continue;
            }
            let file = beneath(folder, prefix, &key)?;
            let (bytes, changed) = (object.bytes, object.changed);
            plan.actions.push(Action::Download { key, file, bytes, changed });
        }
        if remove {
            plan.actions.extend(locals.into_values().map(|local| Action::RemoveFile(local.path)));
        }
        Ok(plan)
    }

    /// What has to be done so that every file of the folder goes below the prefix, whatever is there.
    ///
    /// # Errors
    /// When the folder cannot be looked through.
    pub async fn plan_all_up(&self, folder: &Path, prefix: &str) -> Result<SyncPlan, ObjectsError> {
        let (locals, left_out) = locals(folder, prefix).await?;
        let upload =
            |(key, local): (_, Local)| Action::Upload { file: local.path, key, bytes: local.bytes };
        let actions = locals.into_iter().map(upload).collect();
        Ok(SyncPlan { actions, left_out, ..SyncPlan::default() })
    }

    /// What has to be done so that every object below the prefix goes into the folder, whatever is there.
    ///
    /// # Errors
    /// When the objects cannot be listed, or a key leads out of the folder.
    pub async fn plan_all_down(
        &self,
        prefix: &str,
        folder: &Path,
    ) -> Result<SyncPlan, ObjectsError> {
        let mut plan = SyncPlan::default();
        for (key, Listed { bytes, changed, .. }) in self.objects(prefix).await? {
            let file = beneath(folder, prefix, &key)?;
            plan.actions.push(Action::Download { key, file, bytes, changed });
        }
        Ok(plan)
    }

    /// Carries a plan out, several actions at a time; tells each that is done. Says how many objects are in
    /// fewer regions than was asked for, though in enough.
    ///
    /// # Errors
    /// The first that fails ends it.
    pub async fn carry_out(
        &self,
        plan: SyncPlan,
        mut done: impl FnMut(&Action),
    ) -> Result<u64, ObjectsError> {
        let mut under_way: JoinSet<Result<(Action, Verdict), ObjectsError>> = JoinSet::new();
        let mut degraded = 0;
        let mut each = |(action, verdict): (Action, Verdict)| {
            degraded += u64::from(verdict == Verdict::Degraded);
            done(&action);
        };
        for action in plan.actions {
            if under_way.len() >= self.settings.requests.max(1)
                && let Some(ended) = under_way.join_next().await
            {
                each(ended??);
            }
            // Large ones go one part at a time, because there are several.
            let settings = UploadSettings { requests: 1, ..self.settings };
            let objects = Self { remotes: self.remotes.clone(), settings };
            under_way
                .spawn(async move { objects.act(&action).await.map(|verdict| (action, verdict)) });
        }
        while let Some(ended) = under_way.join_next().await {
            each(ended??);
        }
        Ok(degraded)
    }

    /// Carries one out. Only an upload can be less than whole.
    async fn act(&self, action: &Action) -> Result<Verdict, ObjectsError> {
        let done = match action {
            Action::Upload { file, key, .. } => {
                let progress = Progress::new([]);
                let uploaded = self.put(UploadSource::File(file.clone()), key, &progress).await?;
                return Ok(uploaded.verdict);
            }
            Action::RemoveObject(key) => self.remove(key, false).await,
            Action::RemoveFile(path) => fs::remove_file(path)
                .map_err(|source| ObjectsError::File { path: path.clone(), source }),
            Action::Download { key, file, changed, .. } => {
                self.get(key, file, &Progress::new([])).await?;
                let since = Duration::from_millis(u64::try_from(*changed).unwrap_or(0));
                let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + since);
                let opened = fs::OpenOptions::new().write(true).open(file);
                opened
                    .and_then(|opened| opened.set_times(times))
                    .map_err(|source| ObjectsError::File { path: file.clone(), source })
            }
        };
        done.map(|()| Verdict::Whole)
    }

    async fn objects(&self, prefix: &str) -> Result<BTreeMap<String, Listed>, ObjectsError> {
        let (mut objects, mut many) = (BTreeMap::new(), false);
        let each = |listed: Listed| {
            many |= objects.len() >= LISTED_MAX;
            if !many {
                objects.insert(listed.key.clone(), listed);
            }
        };
        self.list(prefix, false, each).await?;
        if many {
            return Err(ObjectsError::Regions(format!("there are more than {LISTED_MAX} objects")));
        }
        Ok(objects)
    }
}

/// The regular files of a folder by the keys of their objects, and how much else there is.
async fn locals(
    folder: &Path,
    prefix: &str,
) -> Result<(BTreeMap<String, Local>, u64), ObjectsError> {
    let (folder, prefix) = (folder.to_owned(), prefix.to_owned());
    let walked = tokio::task::spawn_blocking(move || {
        let (mut locals, mut left_out) = (BTreeMap::new(), 0);
        for found in Walk::new(&folder)? {
            let found = found?;
            if !found.metadata.is_file() {
                left_out += u64::from(!found.metadata.is_dir());
                continue;
            }
            let name = std::str::from_utf8(found.path.as_bytes()).ok();
            let key = name.map(|name| joined(&prefix, name)).filter(|key| path(key).is_ok());
            let Some(key) = key else { return Err(ObjectsError::Key(found.real)) };
            let modified = found.metadata.modified().ok();
            let since = modified.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
            let changed = since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0));
            let local = Local { path: found.real, bytes: found.metadata.len(), changed };
            locals.insert(key, local);
        }
        Ok((locals, left_out))
    });
    walked.await?
}

/// The key of a name below a prefix.
fn joined(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
}

/// Where an object's file is. A key with `..` or the like has none.
fn beneath(folder: &Path, prefix: &str, key: &str) -> Result<PathBuf, ObjectsError> {
    let name = key.strip_prefix(prefix).unwrap_or(key).trim_start_matches('/');
    let checked = rhumb_pack::ArchivePath::new(name.to_owned()).ok().filter(|path| !path.is_top());
    match checked {
        Some(_) => Ok(folder.join(name)),
        None => Err(ObjectsError::Key(key.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_leads_out_of_the_folder() {
        let folder = Path::new("/f");
        assert_eq!(beneath(folder, "p", "p/a/b").unwrap(), Path::new("/f/a/b"));
        assert_eq!(beneath(folder, "", "a").unwrap(), Path::new("/f/a"));
        for wrong in ["p/../a", "p", "p/a//b", "p/a/..", "p/\0"] {
            assert!(beneath(folder, "p", wrong).is_err(), "{wrong}");
        }
        assert_eq!((joined("", "a"), joined("p", "a")), ("a".into(), "p/a".into()));
    }
}
