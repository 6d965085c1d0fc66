//! Writes what was fetched into a folder. A file gets its name when it is whole, checked, and has its
//! permissions and times.

use std::{fs::File, io, os::fd::BorrowedFd, os::unix::fs::FileExt as _};

use rhumb_pack::{ArchivePath, Content, Entry, Kind, Mtime, Owner};
use rustix::{
    fs::{
        AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chownat, fchmod, fchown,
        futimens, linkat, openat, readlinkat, renameat, symlinkat, unlinkat, utimensat,
    },
    io::Errno,
};

use super::{
    ReceiveError,
    plan::Planned,
    stream::Stream,
    tree::{Tree, part_name},
};
use crate::progress::Progress;

const PART_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Files whose data was written.
    pub files: u64,
    /// Files that were there already.
    pub present: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic and hard links.
    pub links: u64,
    /// Bytes of data.
    pub bytes: u64,
}

/// Fills a folder.
#[derive(Debug)]
pub(super) struct Restore<'a> {
    pub(super) tree: Tree,
    pub(super) stream: Stream,
    pub(super) owners: bool,
    pub(super) progress: &'a Progress,
    /// Directories that are being filled, and get their permissions and times afterwards.
    pub(super) open: Vec<Entry>,
    pub(super) written: Written,
}

impl Restore<'_> {
    /// Writes the next entry.
    pub(super) fn entry(&mut self, planned: Planned) -> Result<(), ReceiveError> {
        let Planned { entry, comes } = planned;
        self.leave(Some(&entry.path))?;
        let fault = {
            let path = entry.path.clone();
            move |source| ReceiveError::Write { path, source }
        };
        match &entry.kind {
            Kind::Directory => {
                self.tree.make_directory(&entry.path).map_err(fault)?;
                self.written.directories += 1;
                self.open.push(entry);
            }
            Kind::File(content) if comes => {
                self.file(&entry, content)?;
                self.written.files += 1;
            }
            Kind::File(_) => {
                self.dress(&entry).map_err(fault)?;
                self.written.present += 1;
            }
            Kind::Symlink { target } => {
                self.symlink(&entry, target).map_err(fault)?;
                self.written.links += 1;
            }
            Kind::HardLink { to } => {
                self.hard_link(&entry, to).map_err(fault)?;
                self.written.links += 1;
            }
        }
        self.progress.entries.add(1);
        Ok(())
    }

    /// Ends the directories that the path does not lie in; without a path all of them.
    pub(super) fn leave(&mut self, path: Option<&ArchivePath>) -> Result<(), ReceiveError> {
        let within = |open: &Entry| {
            let mut names = path.into_iter().flat_map(ArchivePath::names);
            path.is_some() && open.path.names().all(|name| names.next() == Some(name))
        };
        while let Some(done) = self.open.pop_if(|open| !within(open)) {
            let (owners, path) = (self.owners, done.path.clone());
            let dressed = self.tree.directory(&done.path).and_then(|directory| {
                own(directory, done.owner.filter(|_| owners))?;
                fchmod(directory, Mode::from_raw_mode(done.mode))?;
                Ok(futimens(directory, &times(done.mtime))?)
            });
            dressed.map_err(|source| ReceiveError::Write { path, source })?;
        }
        Ok(())
    }

    fn file(&mut self, entry: &Entry, content: &Content) -> Result<(), ReceiveError> {
        let fault = |source: io::Error| ReceiveError::Write { path: entry.path.clone(), source };
        let (parent, name) = self.tree.place(&entry.path).map_err(fault)?;
        let part = part_name(name);
        let file = new_part(parent, &part).map_err(fault)?;
        let filled = fill(&mut self.stream, &file, entry, content, self.progress);
        let named = filled.and_then(|()| {
            finish(&file, entry, self.owners)
                .and_then(|()| Ok(renameat(parent, part.as_slice(), parent, name)?))
                .map_err(fault)
        });
        if named.is_err() {
            // What is left is no file of the archive; the next try would remove it, too.
            let _gone = unlinkat(parent, part.as_slice(), AtFlags::empty());
        }
        self.written.bytes += content.data;
        named
    }

    /// Gives a file that was there its permissions and times.
    fn dress(&mut self, entry: &Entry) -> io::Result<()> {
        match self.tree.file(&entry.path)? {
            Some(file) => finish(&file, entry, self.owners),
            None => Err(Errno::NOENT.into()),
        }
    }

    fn symlink(&mut self, entry: &Entry, target: &[u8]) -> io::Result<()> {
        let (parent, name) = self.tree.place(&entry.path)?;
        let is_there =
            readlinkat(parent, name, Vec::new()).is_ok_and(|link| link.as_bytes() == target);
        if !is_there {
            let part = part_name(name);
            remove_part(parent, &part)?;
            symlinkat(target, parent, part.as_slice())?;
            renameat(parent, part.as_slice(), parent, name)?;
        }
        let no_follow = AtFlags::SYMLINK_NOFOLLOW;
        if let Some(owner) = entry.owner.filter(|_| self.owners) {
            let (user, group) = ids(owner);
            chownat(parent, name, user, group, no_follow)?;
        }
        Ok(utimensat(parent, name, &times(entry.mtime), no_follow)?)
    }

    fn hard_link(&mut self, entry: &Entry, to: &ArchivePath) -> io::Result<()> {
        // It stands before this entry, so it is there, unless the archive means something else by it.
        if !self.tree.is_file(to)? {
            return Err(io::Error::other(format!("`{to}` is no file")));
        }
        let (parent, source) = self.tree.place(to)?;
        let source_parent = parent.try_clone_to_owned()?;
        let (parent, name) = self.tree.place(&entry.path)?;
        let part = part_name(name);
        remove_part(parent, &part)?;
        linkat(&source_parent, source, parent, part.as_slice(), AtFlags::empty())?;
        renameat(parent, part.as_slice(), parent, name)?;
        // Where both were the same file already, nothing was renamed (POSIX), and the part is left.
        remove_part(parent, &part)
    }
}

/// Writes a file's data and checks all of it.
fn fill(
    stream: &mut Stream,
    file: &File,
    entry: &Entry,
    content: &Content,
    progress: &Progress,
) -> Result<(), ReceiveError> {
    let fault = |source| ReceiveError::Write { path: entry.path.clone(), source };
    let (mut hasher, mut from) = (blake3::Hasher::new(), content.start);
    for (mut offset, bytes) in content.ranges() {
        stream.read(from, bytes, |piece| {
            hasher.update(piece);
            file.write_all_at(piece, offset).map_err(fault)?;
            offset += piece.len() as u64;
            progress.done.add(piece.len() as u64);
            Ok(())
        })?;
        from += bytes;
    }
    if *hasher.finalize().as_bytes() != content.hash {
        return Err(ReceiveError::Content(entry.path.clone()));
    }
    // Makes the hole at the end, if there is one.
    file.set_len(content.size()).map_err(fault)
}

fn new_part(parent: BorrowedFd<'_>, part: &[u8]) -> io::Result<File> {
    remove_part(parent, part)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(openat(parent, part, flags, PART_MODE)?))
}

fn remove_part(parent: BorrowedFd<'_>, part: &[u8]) -> io::Result<()> {
    match unlinkat(parent, part, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Owner, then mode: a change of owner takes set-user and set-group away.
fn finish(file: &File, entry: &Entry, owners: bool) -> io::Result<()> {
    own(file, entry.owner.filter(|_| owners))?;
    fchmod(file, Mode::from_raw_mode(entry.mode))?;
    Ok(futimens(file, &times(entry.mtime))?)
}

fn own(file: impl std::os::fd::AsFd, owner: Option<Owner>) -> io::Result<()> {
    if let Some(owner) = owner {
        let (user, group) = ids(owner);
        fchown(file, user, group)?;
    }
    Ok(())
}

fn ids(owner: Owner) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(owner.user)), Some(Gid::from_raw(owner.group)))
}

fn times(mtime: Mtime) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanos) },
    }
}
