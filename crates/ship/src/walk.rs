//! A walk over a tree: what is there, in the order of an archive.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::{self, Metadata},
    io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    thread,
};

use rhumb_pack::{ArchivePath, PathError};

use crate::limits::{STAT_ALONE_MAX, STAT_BATCH, STAT_THREADS};

/// Something that the walk came by.
#[derive(Debug)]
pub struct Found {
    /// Where it stands in the archive.
    pub path: ArchivePath,
    /// Where it is.
    pub real: PathBuf,
    /// What it was when it was looked at; links are not followed.
    pub metadata: Metadata,
}

/// Why a walk cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// Something cannot be looked at.
    #[error("`{}` cannot be read", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something cannot stand in an archive.
    #[error("`{}` cannot stand in an archive", path.display())]
    Name {
        /// What.
        path: PathBuf,
        /// Why.
        source: PathError,
    },
}

/// Goes through a tree, each directory before what is in it and names in the order of their bytes.
///
/// Memory: the names of the directories on the way to where it is, and one batch of metadata. What goes
/// away meanwhile is left out.
#[derive(Debug)]
pub struct Walk {
    open: Vec<Level>,
    /// The top, before anything else.
    first: Option<Found>,
}

#[derive(Debug)]
struct Level {
    path: ArchivePath,
    real: PathBuf,
    /// Not looked at yet, in order.
    names: VecDeque<OsString>,
    /// Looked at.
    found: VecDeque<Found>,
}

impl Walk {
    /// A walk over what is at this path: a directory with what is in it, or one file.
    ///
    /// # Errors
    /// When nothing can be read there.
    pub fn new(top: &Path) -> Result<Self, WalkError> {
        let fault = |source| WalkError::Read { path: top.to_owned(), source };
        // The top itself may be a link; what is in it is not followed.
        let metadata = fs::metadata(top).map_err(fault)?;
        let path = if metadata.is_dir() {
            ArchivePath::top()
        } else {
            let real = fs::canonicalize(top).map_err(fault)?;
            let name =
                top.file_name().or_else(|| real.file_name()).unwrap_or_else(|| OsStr::new("file"));
            let named = |source| WalkError::Name { path: top.to_owned(), source };
            ArchivePath::top().join(name.as_bytes()).map_err(named)?
        };
        Ok(Self { open: Vec::new(), first: Some(Found { path, real: top.to_owned(), metadata }) })
    }

    fn step(&mut self) -> Result<Option<Found>, WalkError> {
        if let Some(first) = self.first.take() {
            self.enter(&first)?;
            return Ok(Some(first));
        }
        while let Some(level) = self.open.last_mut() {
            if level.found.is_empty() {
                level.look()?;
            }
            let Some(found) = level.found.pop_front() else {
                if level.names.is_empty() {
                    self.open.pop();
                }
                continue;
            };
            self.enter(&found)?;
            return Ok(Some(found));
        }
        Ok(None)
    }

    /// Begins with what is in a directory.
    fn enter(&mut self, found: &Found) -> Result<(), WalkError> {
        if !found.metadata.is_dir() {
            return Ok(());
        }
        let fault = |source| WalkError::Read { path: found.real.clone(), source };
        let entries = match fs::read_dir(&found.real) {
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(fault)?,
        };
        let mut names = entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(fault)?;
        names.sort_unstable();
        let (path, real) = (found.path.clone(), found.real.clone());
        self.open.push(Level { path, real, names: names.into(), found: VecDeque::new() });
        Ok(())
    }
}

impl Iterator for Walk {
    type Item = Result<Found, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

impl Level {
    /// Looks at the next names.
    fn look(&mut self) -> Result<(), WalkError> {
        let batch: Vec<OsString> = self.names.drain(..self.names.len().min(STAT_BATCH)).collect();
        if batch.len() <= STAT_ALONE_MAX {
            self.found.extend(look_at(&self.path, &self.real, batch)?);
            return Ok(());
        }
        let share = batch.len().div_ceil(STAT_THREADS);
        let mut rest = batch.into_iter();
        let parts: Vec<Vec<OsString>> =
            (0..STAT_THREADS).map(|_| rest.by_ref().take(share).collect()).collect();
        let (path, real) = (&self.path, &self.real);
        let looked = thread::scope(|scope| {
            let threads: Vec<_> = parts
                .into_iter()
                .map(|part| scope.spawn(move || look_at(path, real, part)))
                .collect();
            threads.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        for part in looked {
            // A thread that panicked is a broken invariant of this program.
            self.found.extend(part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(())
    }
}

fn look_at(
    parent: &ArchivePath,
    real: &Path,
    names: Vec<OsString>,
) -> Result<Vec<Found>, WalkError> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let real = real.join(&name);
        let metadata = match fs::symlink_metadata(&real) {
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(WalkError::Read { path: real, source }),
            Ok(metadata) => metadata,
        };
        match parent.join(&name.into_vec()) {
            Ok(path) => found.push(Found { path, real, metadata }),
            Err(source) => return Err(WalkError::Name { path: real, source }),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_order_is_that_of_an_archive_and_links_are_not_followed() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        fs::create_dir_all(at("a/deep")).unwrap();
        for name in ["a.b", "a/z", "a/deep/file", "b"] {
            fs::write(at(name), name).unwrap();
        }
        symlink(top.path(), at("a/loop")).unwrap();
        let paths: Vec<_> =
            Walk::new(top.path()).unwrap().map(|found| found.unwrap().path.to_string()).collect();
        assert_eq!(paths, [".", "a", "a/deep", "a/deep/file", "a/loop", "a/z", "a.b", "b"]);
        let one: Vec<_> = Walk::new(&at("b")).unwrap().map(|found| found.unwrap().path).collect();
        assert_eq!(one, [ArchivePath::new("b").unwrap()]);
    }

    #[test]
    fn a_directory_of_many_names_comes_in_order_too() {
        let top = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..STAT_BATCH * 2 + 7).map(|n| format!("{n:05}")).collect();
        names.iter().for_each(|name| fs::write(top.path().join(name), "").unwrap());
        let found: Vec<_> =
            Walk::new(top.path()).unwrap().skip(1).map(|f| f.unwrap().path.to_string()).collect();
        assert_eq!(found, names);
    }

    #[test]
    fn what_is_not_there_is_said() {
        assert!(matches!(Walk::new(Path::new("/nowhere/at/all")), Err(WalkError::Read { .. })));
    }
}
