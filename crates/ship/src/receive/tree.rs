//! The folder that is restored into. Nothing here follows a link, whoever made it: every directory on the
//! way is opened from the one above it, and has to be one.

use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use bytes::Bytes;
use rhumb_pack::ArchivePath;
use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, fchmod, fstat, mkdirat, openat, statat},
    io::Errno,
};

/// What the names of unfinished files begin with.
pub(crate) const PART_PREFIX: &[u8] = b".rhumb-part-";
/// A directory while it is filled.
const FILLED_MODE: Mode = Mode::RWXU;
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A folder, with the directories on the way to where it was used last.
#[derive(Debug)]
pub(super) struct Tree {
    top: OwnedFd,
    open: Vec<(Bytes, OwnedFd)>,
}

impl Tree {
    /// Opens a folder that is there.
    pub(super) fn open(top: &Path) -> io::Result<Self> {
        // The top is what the user named, and may be a link.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { top: openat(CWD, top, flags, Mode::empty())?, open: Vec::new() })
    }

    /// A directory below the top.
    pub(super) fn directory(&mut self, path: &ArchivePath) -> io::Result<BorrowedFd<'_>> {
        let names: Vec<&[u8]> = path.names().collect();
        let same =
            self.open.iter().zip(&names).take_while(|((open, _), name)| open == *name).count();
        self.open.truncate(same);
        for name in names.into_iter().skip(same) {
            let parent = self.open.last().map_or(self.top.as_fd(), |(_, open)| open.as_fd());
            let directory = openat(parent, name, DIRECTORY, Mode::empty())?;
            self.open.push((Bytes::copy_from_slice(name), directory));
        }
        Ok(self.open.last().map_or(self.top.as_fd(), |(_, open)| open.as_fd()))
    }

    /// The directory of something, and its name in it.
    pub(super) fn place<'a, 'b>(
        &'a mut self,
        path: &'b ArchivePath,
    ) -> io::Result<(BorrowedFd<'a>, &'b [u8])> {
        let (parent, name) = path.split().ok_or(Errno::INVAL)?;
        Ok((self.directory(&parent)?, name))
    }

    /// Makes a directory, or takes the one that is there; it can be filled.
    pub(super) fn make_directory(&mut self, path: &ArchivePath) -> io::Result<()> {
        if !path.is_top() {
            let (parent, name) = self.place(path)?;
            match mkdirat(parent, name, FILLED_MODE) {
                Ok(()) => return Ok(()),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let directory = self.directory(path)?;
        let mode = Mode::from_raw_mode(fstat(directory)?.st_mode);
        if !mode.contains(FILLED_MODE) {
            fchmod(directory, mode | FILLED_MODE)?;
        }
        Ok(())
    }

    /// A regular file that is there, to be read.
    pub(super) fn file(&mut self, path: &ArchivePath) -> io::Result<Option<File>> {
        let (parent, name) = self.place(path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match openat(parent, name, flags, Mode::empty()) {
            Ok(file) => {
                let file = File::from(file);
                Ok(file.metadata()?.is_file().then_some(file))
            }
            Err(Errno::NOENT | Errno::LOOP | Errno::ACCESS | Errno::NXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a regular file is there; links are not followed.
    pub(super) fn is_file(&mut self, path: &ArchivePath) -> io::Result<bool> {
        let (parent, name) = self.place(path)?;
        let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    }
}

/// What a file is called in its directory until it is whole.
pub(crate) fn part_name(name: &[u8]) -> Vec<u8> {
    let hash = blake3::hash(name).to_hex();
    [PART_PREFIX, hash.as_bytes().get(..16).unwrap_or_default()].concat()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn path(text: &str) -> ArchivePath {
        ArchivePath::new(text.to_owned()).unwrap()
    }

    #[test]
    fn a_link_on_the_way_is_not_followed() {
        let (top, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(other.path(), top.path().join("link")).unwrap();
        fs::write(other.path().join("secret"), "x").unwrap();
        let mut tree = Tree::open(top.path()).unwrap();
        assert!(tree.directory(&path("link")).is_err());
        assert!(tree.make_directory(&path("link")).is_err());
        assert!(tree.make_directory(&path("link/below")).is_err());
        assert!(tree.file(&path("link/secret")).is_err());
        symlink(other.path().join("secret"), top.path().join("file")).unwrap();
        assert!(tree.file(&path("file")).unwrap().is_none());
        assert!(!tree.is_file(&path("file")).unwrap());
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_that_cannot_be_written_to_is_opened_up() {
        use std::os::unix::fs::PermissionsExt as _;
        let top = tempfile::tempdir().unwrap();
        let mut tree = Tree::open(top.path()).unwrap();
        tree.make_directory(&path("a")).unwrap();
        fs::set_permissions(top.path().join("a"), fs::Permissions::from_mode(0o500)).unwrap();
        tree.make_directory(&path("a")).unwrap();
        let mode = fs::metadata(top.path().join("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(tree.directory(&path("b")).is_err());
    }
}
