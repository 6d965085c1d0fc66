//! Compares a folder with an archive: both go in the same order, so that one look at each is enough.

use std::{iter::Peekable, os::unix::fs::MetadataExt as _, path::Path};

use rhumb_pack::{ArchivePath, Entry, Kind};

use super::{ReceiveError, plan::is_content, tree::Tree};
use crate::{
    limits::WARNINGS_MAX,
    walk::{Found, Walk},
};

const MODE_BITS: u32 = 0o7777;

/// What differs between a folder and an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// The first of them, for people.
    pub shown: Vec<String>,
    /// How many there are.
    pub count: u64,
}

impl Differences {
    fn add(&mut self, path: &ArchivePath, what: &str) {
        self.count += 1;
        if self.shown.len() < WARNINGS_MAX {
            self.shown.push(format!("{path}: {what}"));
        }
    }
}

/// A comparison under way.
pub(super) struct Compare {
    tree: Tree,
    walk: Peekable<Walk>,
    pub(super) found: Differences,
    owners: bool,
}

impl Compare {
    pub(super) fn new(top: &Path, owners: bool) -> Result<Self, ReceiveError> {
        let fault = |source| ReceiveError::Target { path: top.to_owned(), source };
        let tree = Tree::open(top).map_err(fault)?;
        Ok(Self { tree, walk: Walk::new(top)?.peekable(), found: Differences::default(), owners })
    }

    /// Looks at the next entry.
    pub(super) fn entry(&mut self, entry: &Entry) -> Result<(), ReceiveError> {
        while let Some(Ok(next)) = self.walk.peek() {
            // A lone file has no entry for the folder that it is restored into.
            if next.path >= entry.path {
                break;
            }
            if !next.path.is_top() {
                self.found.add(&next.path, "is not in the archive");
            }
            self.walk.next();
        }
        match self.walk.next_if(|next| next.as_ref().map_or(true, |next| next.path == entry.path)) {
            None => self.found.add(&entry.path, "is not there"),
            Some(found) => self.one(entry, &found?),
        }
        Ok(())
    }

    /// What is left is in the folder only.
    pub(super) fn end(&mut self) -> Result<(), ReceiveError> {
        for found in self.walk.by_ref() {
            self.found.add(&found?.path, "is not in the archive");
        }
        Ok(())
    }

    fn one(&mut self, entry: &Entry, found: &Found) {
        let (path, metadata) = (&entry.path, &found.metadata);
        let kind = metadata.file_type();
        let same_kind = match &entry.kind {
            Kind::Directory => kind.is_dir(),
            Kind::File(_) | Kind::HardLink { .. } => kind.is_file(),
            Kind::Symlink { .. } => kind.is_symlink(),
        };
        if !same_kind {
            self.found.add(path, "is something else");
            return;
        }
        // A link's permissions are never looked at by anyone.
        if !kind.is_symlink() && metadata.mode() & MODE_BITS != entry.mode {
            self.found.add(path, "has other permissions");
        }
        let nanos = i64::from(entry.mtime.nanos);
        if (metadata.mtime(), metadata.mtime_nsec()) != (entry.mtime.seconds, nanos) {
            self.found.add(path, "has another time");
        }
        let owner = |owner: rhumb_pack::Owner| (owner.user, owner.group);
        let owned = (metadata.uid(), metadata.gid());
        if self.owners && entry.owner.is_some_and(|wanted| owner(wanted) != owned) {
            self.found.add(path, "belongs to somebody else");
        }
        self.bytes_of(entry, found);
    }

    fn bytes_of(&mut self, entry: &Entry, found: &Found) {
        let path = &entry.path;
        match &entry.kind {
            Kind::Directory => {}
            Kind::File(content) => {
                let file = self.tree.file(path).ok().flatten();
                if !file.is_some_and(|file| is_content(&file, content).unwrap_or(false)) {
                    self.found.add(path, "has other bytes");
                }
            }
            Kind::Symlink { target } => {
                use std::os::unix::ffi::OsStrExt as _;
                let link = std::fs::read_link(&found.real);
                if !link.is_ok_and(|link| link.as_os_str().as_bytes() == target) {
                    self.found.add(path, "points elsewhere");
                }
            }
            Kind::HardLink { to } => {
                let first = self.tree.file(to).ok().flatten().and_then(|file| file.metadata().ok());
                let here = (found.metadata.dev(), found.metadata.ino());
                if first.map(|first| (first.dev(), first.ino())) != Some(here) {
                    self.found.add(path, "is no other name of the same file");
                }
            }
        }
    }
}
